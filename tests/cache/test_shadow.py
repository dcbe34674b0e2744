"""What counts as the same answer, and which hits are looked at."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.answer import Answer, Kinds
from sipup_middleware.cache.policy import Terms
from sipup_middleware.cache.shadow import Sample, compare
from sipup_middleware.cache.stored import StoredResponse

Fields = Iterable[tuple[bytes, bytes]]

HEAD = [(b"content-type", b"text/plain"), (b"link", b"</a>"), (b"link", b"</b>")]


def stored(fields: Fields = HEAD, *, status: int = 200, body: bytes = b"body") -> StoredResponse:
    answer, terms = Answer(status, fields), Terms(60.0, 0.0, 0, ())
    return StoredResponse(answer, list(fields), body, terms, born=1_000_000.0, route="/")


def test_the_same_answer_differs_in_nothing() -> None:
    assert compare(stored(), 200, HEAD, b"body") is None


def test_the_case_and_the_order_of_names_mean_nothing() -> None:
    fields = [(b"Link", b"</a>"), (b"Content-Type", b"text/plain"), (b"link", b"</b>")]

    assert compare(stored(), 200, fields, b"body") is None


@pytest.mark.parametrize(
    ("status", "fields", "body", "differs"),
    [
        (404, HEAD, b"body", "status"),
        (200, HEAD, b"Body", "body"),
        (404, [], b"", "status"),
        (200, [], b"", "body"),
        (200, [(b"content-type", b"text/html"), *HEAD[1:]], b"body", "header:content-type"),
        (200, HEAD[:2], b"body", "header:link"),
        (200, [HEAD[0], HEAD[2], HEAD[1]], b"body", "header:link"),
        (200, [*HEAD, (b"X-New", b"secret")], b"body", "header:x-new"),
        (200, [], b"body", "header:content-type"),
    ],
)
def test_the_first_difference_is_named_and_no_value_is(
    status: int, fields: Fields, body: bytes, differs: str
) -> None:
    assert compare(stored(), status, fields, body) == differs


@pytest.mark.parametrize(
    "name",
    [
        *("Date", "Age", "Expires", "Server", "Via", "Connection", "Transfer-Encoding", "Content-Length"),
        *("Set-Cookie", "X-Request-ID", "X-Correlation-ID", "Traceparent", "Server-Timing", "Cache-Status"),
        *("RateLimit", "RateLimit-Policy", "X-RateLimit-Remaining", "Retry-After", "X-Process-Time"),
    ],
)
def test_what_differs_by_nature_is_left_out(name: str) -> None:
    extra = name.encode()

    assert compare(stored(), 200, [*HEAD, (extra, b"1")], b"body") is None
    assert compare(stored([*HEAD, (extra.lower(), b"2")]), 200, [*HEAD, (extra, b"1")], b"body") is None


def test_what_the_connection_names_is_left_out() -> None:
    fields = [*HEAD, (b"connection", b"x-hop"), (b"x-hop", b"1")]

    assert compare(stored(), 200, fields, b"body") is None


def test_the_field_that_is_for_us_alone_is_left_out() -> None:
    fields = [*HEAD, (b"Sipup-Cache-Control", b"max-age=60")]

    assert compare(stored(), 200, fields, b"body", kinds=Kinds(b"sipup-cache-control")) is None
    assert compare(stored(), 200, fields, b"body") == "header:sipup-cache-control"


def test_a_share_of_hits_is_picked_by_the_numbers_drawn() -> None:
    drawn = iter([0.0, 0.009, 0.01, 0.5, 0.99])
    sample = Sample(0.01, random=lambda: next(drawn))

    assert [sample() for _ in range(5)] == [True, True, False, False, False]


@pytest.mark.parametrize(("share", "picked"), [(0, 0), (1, 1000), (0.25, 250)])
def test_none_and_all_are_shares_too(share: float, picked: int) -> None:
    numbers = cycle(number / 1000 for number in range(1000))
    sample = Sample(share, random=lambda: next(numbers))

    assert sum(sample() for _ in range(1000)) == picked


def test_without_a_source_of_numbers_chance_decides() -> None:
    assert not any(Sample(0)() for _ in range(100))
    assert all(Sample(1)() for _ in range(100))


names = st.sampled_from([b"etag", b"Link", b"x-a", b"Date", b"vary"])
fields = st.lists(st.tuples(names, st.binary(max_size=3)), max_size=6)


@given(fields, fields, st.binary(max_size=2), st.binary(max_size=2))
def test_none_means_that_every_comparable_line_is_there(
    before: list[tuple[bytes, bytes]], now: list[tuple[bytes, bytes]], old: bytes, new: bytes
) -> None:
    differs = compare(stored(before, body=old), 200, now, new)

    alike = all(
        [value for each, value in before if each.lower() == name]
        == [value for each, value in now if each.lower() == name]
        for name in (b"etag", b"link", b"x-a", b"vary")
    )
    assert (differs is None) is (alike and old == new)


@given(st.integers(100, 599), st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=5))
def test_no_bytes_raise(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    compare(stored(fields, status=status), status, fields, b"body")
