from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.request import LONGEST_KEY, Request, check_hosts, key_of
from sipup_middleware.errors import ConfigurationError
from tests.asgi import http_scope

PART = st.text(alphabet="a/ 0?1\n", max_size=6).map(str.encode)


def key(scheme: str, host: bytes, path: bytes, query: bytes) -> bytes:
    return key_of(http_scope(scheme=scheme, raw_path=path, query_string=query), host)


@given(*[st.tuples(PART, PART)] * 2)
def test_what_vary_key_gives_and_the_rest_of_the_key_do_not_mix(
    one: tuple[bytes, bytes], other: tuple[bytes, bytes]
) -> None:
    first, second = (
        Request(http_scope(raw_path=path), None, lambda _, part=part: part).key  # type: ignore[misc]  # (a default)
        for part, path in (one, other)
    )

    assert (first == second) == (one == other)
    assert first != Request(http_scope(raw_path=one[1]), None).key


@given(*[st.tuples(st.sampled_from(["http", "https"]), PART, PART, PART)] * 2)
def test_the_key_is_injective_over_scheme_host_raw_path_and_raw_query(
    one: tuple[str, bytes, bytes, bytes], other: tuple[str, bytes, bytes, bytes]
) -> None:
    assert (key(*one) == key(*other)) == (one == other)


def test_a_server_without_raw_path_gets_keys_too() -> None:
    first, second = (http_scope(path, raw_path=None) for path in ("/a b", "/a%20b"))

    assert key_of(first, b"h") != key_of(second, b"h")


def test_the_host_counts_in_any_case() -> None:
    lower, upper = (http_scope() | {"headers": [(b"host", host)]} for host in (b"a.example", b"A.Example"))

    assert Request(lower, None).key == Request(upper, None).key


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (("If-Match", '"a"'), "precondition"),
        (("If-Unmodified-Since", "x"), "precondition"),
        (("Content-Length", "5"), "body"),
        (("Transfer-Encoding", "chunked"), "body"),
        (("X-Original-URL", "/admin"), "rewrite"),
        (("X-HTTP-Method-Override", "DELETE"), "rewrite"),
        (("Host", "other"), "host"),
        (("Content-Length", "0"), None),
        (("Range", "bytes=0-1"), None),
        (("If-Range", '"a"'), None),
        (("X-Forwarded-Host", "other"), None),
        (("Cache-Control", "no-cache"), None),
        (("Pragma", "no-cache"), None),
    ],
)
def test_what_the_store_cannot_answer_bypasses_it(header: tuple[str, str], reason: str | None) -> None:
    assert Request(http_scope(headers=[header]), None).bypass == reason


def test_a_request_without_a_host_bypasses() -> None:
    assert Request(http_scope() | {"headers": []}, None).bypass == "host"


def test_an_overlong_url_bypasses() -> None:
    assert Request(http_scope(query="q" * LONGEST_KEY), None).bypass == "length"


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        (b"shop.example", True),
        (b"shop.example:8443", True),
        (b"eu.cdn.example", True),
        (b"cdn.example", False),
        (b"evilcdn.example", False),
        (b"shop.example.evil", False),
        (b"shop.example:80:80", False),
        (b"", False),
    ],
)
def test_only_allowed_hosts_are_ours_on_any_port(host: bytes, *, ours: bool) -> None:
    allows = check_hosts(("Shop.example", "*.cdn.example"))

    assert allows is not None
    assert allows(host) is ours


@pytest.mark.parametrize("name", ["", "a*", "*.*.example", "*example"])
def test_a_host_pattern_that_means_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="allowed_hosts"):
        check_hosts((name,))


@given(st.lists(st.tuples(st.sampled_from([b"host", b"cookie", b"range", b"content-length"]), st.binary())))
def test_no_header_bytes_raise(headers: list[tuple[bytes, bytes]]) -> None:
    Request(http_scope() | {"headers": headers}, check_hosts(("testserver",)))
