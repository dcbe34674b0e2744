"""Networks as users list them, asked as sockets and headers write addresses."""

from __future__ import annotations

import pickle
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.networks import Networks

PREFIXES = st.builds(
    lambda address, bits: str(ip_network((address, min(bits, address.max_prefixlen)), strict=False)),
    st.ip_addresses(),
    st.integers(0, 128),
).filter(lambda network: not network.startswith("::ffff:"))


@pytest.mark.parametrize(
    ("network", "host", "inside"),
    [
        ("192.0.2.0/24", "192.0.2.0", True),
        ("192.0.2.0/24", "192.0.2.255", True),
        ("192.0.2.0/24", "192.0.3.0", False),
        ("192.0.2.0/24", "::ffff:192.0.2.7", True),
        ("192.0.2.0/255.255.255.0", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("::ffff:192.0.2.0/120", "192.0.2.7", True),
        ("::ffff:192.0.2.0/120", "::ffff:192.0.2.7", True),
        ("2001:db8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "203.0.113.9", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("::/0", "203.0.113.9", False),
        ("::/0", "0:0::cb00:7109", True),
        ("0.0.0.0/0", "testclient", False),
        ("0.0.0.0/0", "", False),
        ("0.0.0.0/0", "192.0.2.7:80", False),
        ("0.0.0.0/0", "1.2.3.4\x00", False),
        ("::/0", "not:an:address\udcff", False),
    ],
)
def test_an_address_is_inside_or_it_is_not(network: str, host: str, inside: bool) -> None:  # noqa: FBT001 (a table's column)
    assert Networks((network,)).contains(host) is inside


@given(st.lists(PREFIXES, max_size=20), st.ip_addresses())
def test_it_agrees_with_the_standard_library(networks: list[str], address: Any) -> None:
    mapped = getattr(address, "ipv4_mapped", None) or address

    inside = Networks(networks).contains(str(address))

    assert inside is any(mapped in ip_network(each) for each in networks)


def test_many_networks_are_a_lookup_for_each_prefix_length() -> None:
    networks = Networks([f"10.{i}.{j}.0/24" for i in range(32) for j in range(0, 256, 2)] + ["192.0.2.7"])

    tables = networks._four

    assert [len(members) for _, members in tables] == [4096, 1]
    assert networks.contains("10.31.254.1")
    assert not networks.contains("10.31.255.1")


@pytest.mark.parametrize(
    ("networks", "everyone"),
    [
        (["0.0.0.0/0"], True),
        (["::/0"], True),
        (["0.0.0.0/1", "128.0.0.0/1"], True),
        (["10.0.0.0/8", "fd00::/8"], False),
        ([], False),
    ],
)
def test_networks_that_hold_everyone_are_known(networks: list[str], everyone: bool) -> None:  # noqa: FBT001 (as above)
    assert Networks(networks).hold_everyone is everyone


@pytest.mark.parametrize(
    "nonsense",
    [
        "192.0.2.0/24",
        b"\x7f\x00",
        None,
        7,
        [7],
        [b"\x7f\x00\x00\x01"],
        ["192.0.2.1/24"],
        ["192.0.2.0/33"],
        ["192.0.2"],
        [" 192.0.2.0/24"],
        ["fe80::1%eth0"],
        ["balancer"],
        [""],
    ],
)
def test_nonsense_is_refused_with_the_name_of_the_option(nonsense: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^RateLimit\.allow takes "):
        Networks(nonsense, option="RateLimit.allow")


def test_it_is_a_value() -> None:
    networks = Networks(["192.0.2.0/24"], option="RateLimit.allow")

    assert networks == Networks(("192.0.2.0/24",), option="RateLimit.deny")
    assert hash(networks) == hash(Networks(("192.0.2.0/24",)))
    assert repr(networks) == "Networks(networks=('192.0.2.0/24',))"
    assert pickle.loads(pickle.dumps(networks)).contains("192.0.2.7")
    assert networks
    assert not Networks(())
