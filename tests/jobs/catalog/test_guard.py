"""Where a webhook may go: each way to say "inside" that we know of."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from sipup_middleware.jobs.catalog.guard import Guard, Target, is_public, networks, resolve
from sipup_middleware.jobs.running import Discard, Retry


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("http://hooks.example", Target("http", "hooks.example", 80, "/"), "hooks.example"),
        (
            "HTTPS://Hooks.Example:443/A?b=c#d",
            Target("https", "hooks.example", 443, "/A?b=c"),
            "hooks.example",
        ),
        ("https://hooks.example:8443?b", Target("https", "hooks.example", 8443, "/?b"), "hooks.example:8443"),
        (
            "http://[2001:4860:4860::8888]/",
            Target("http", "2001:4860:4860::8888", 80, "/"),
            "[2001:4860:4860::8888]",
        ),
        ("http://a_b.xn--bcher-kva.example./", Target("http", "a_b.xn--bcher-kva.example.", 80, "/"), None),
    ],
)
def test_a_url_is_taken_apart(url: str, target: Target, host: str | None) -> None:
    assert Target.read(url) == target
    assert target.authority == (host or target.host)


@pytest.mark.parametrize(
    "url",
    [
        None,
        b"http://hooks.example",
        "",
        "hooks.example",
        "//hooks.example/",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "gopher://hooks.example/",
        "http:/hooks.example",
        "http://",
        "http:///hook",
        "http://.",
        "http://a..b/",
        "http://user@hooks.example/",
        "http://user:hunter2@hooks.example/",
        "http://hooks.example@10.0.0.1/",
        "http://hooks.example\\@10.0.0.1/",
        "http://hooks.example\t/",
        "http://hooks.example/\r\nHost: other",
        "http://hooks.example /",
        " http://hooks.example",
        "http://bücher.example/",
        "http://\uff1127.0.0.1/",
        "http://hooks.example/ü",
        "http://hooks.example:0/",
        "http://hooks.example:65536/",
        "http://hooks.example:+80/",
        "http://hooks.example:/",
        "http://[fe80::1%25eth0]/",
        "http://[::1",
        "http://[1::2::3]/",
        "http://[v1.x]/",
        "http://%31%30.0.0.1/",
        "http://hooks.example/" + "a" * 2048,
        "http://" + "a." * 127 + "example/",
        "http://" + "a" * 64 + ".example/",
    ],
)
def test_what_parsers_could_disagree_about_is_no_url(url: object) -> None:
    with pytest.raises(ValueError, match=r"^url: must ") as raised:
        Target.read(url)

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "1.1.1.1", "2001:4860:4860::8888", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 (nobody binds to it)
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:10.0.0.1",
        "::ffff:a9fe:a9fe",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_the_rest_is_not(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "0", "[::1]", "[::ffff:7f00:1]"]
)
def test_an_address_is_recognised_however_it_is_written(host: str) -> None:
    with pytest.raises(ValueError, match=r"^url: must lead to a public address$"):
        Guard().check(Target.read(f"http://{host}/"))


@pytest.mark.parametrize("host", ["hooks.example", "localhost", "1.2.3.4.5", "93.184.216.34"])
def test_a_name_is_looked_at_when_it_is_resolved(host: str) -> None:
    Guard().check(Target.read(f"http://{host}/"))


@pytest.mark.parametrize("address", ["10.1.0.1", "::ffff:10.1.0.1", "fd00::1"])
async def test_what_is_allowed_may_be_inside(address: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return [address, address]

    guard = Guard(networks("allow", ["10.1.0.0/16", "fd00::/8"]), resolve)

    assert await guard.admit(Target.read("http://inside.example/")) == [address]


@pytest.mark.parametrize("address", ["10.2.0.1", "fe80::1", "127.0.0.1"])
async def test_what_is_allowed_does_not_open_the_rest(address: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["10.1.0.1", address]

    guard = Guard(networks("allow", ["10.1.0.0/16"]), resolve)

    with pytest.raises(Discard, match="public address"):
        await guard.admit(Target.read("http://inside.example/"))


async def test_an_address_in_the_url_is_not_resolved() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise AssertionError

    assert await Guard(resolve=resolve).admit(Target.read("http://93.184.216.34/")) == ["93.184.216.34"]


async def test_a_name_without_addresses_is_asked_for_again() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return []

    with pytest.raises(Retry):
        await Guard(resolve=resolve).admit(Target.read("http://hooks.example/"))


async def test_the_system_resolves_to_addresses() -> None:
    assert set(await resolve("localhost", 80)) <= {"127.0.0.1", "::1"}
