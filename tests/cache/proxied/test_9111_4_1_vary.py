"""RFC 9111, section 4.1: which stored answer is for which request."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import ETAG, FRESH, Case, Proxied, confirmed, goes, held, says, unstored

BY_A = says(FRESH, "Vary: X-A")
BY_BOTH = says(FRESH, "Vary: X-A, X-B")

ALIKE = [
    ("X-A: 1", "x-a: 1"),
    ("X-A: 1", "X-A:   1  "),
    ("X-A: 1, 2", "X-A: 1,2"),
    ("X-A: 1, 2", "X-A: 1 ,\t2"),
]
APART = [
    (("X-A: 1",), ("X-A: 2",)),
    (("X-A: 1",), ()),
    ((), ("X-A: 1",)),
    ((), ("X-A:",)),
    (("X-A:",), ()),
    (("X-A: 1",), ("X-A: 1, 2",)),
    (("X-A: a",), ("X-A: A",)),
    (("X-A: 1, 2",), ("X-A: 2, 1",)),
    (("X-A: 12",), ("X-A: 1, 2",)),
    (('X-A: "1, 2"',), ('X-A: "1,2"',)),
]

CASES = [
    *(Case(f"4.1 {one} is {other}", (goes(BY_A, one), held(other))) for one, other in ALIKE),
    Case("4.1 lines are joined", (goes(BY_A, "X-A: 1", "X-A: 2"), held("X-A: 1, 2"))),
    Case("4.1 absent is absent", (goes(BY_A), held())),
    Case("4.1 what is not named does not matter", (goes(BY_A, "X-A: 1", "X-B: 1"), held("X-A: 1", "X-B: 2"))),
    *(Case(f"4.1 {one} is not {other}", (goes(BY_A, *one), goes(BY_A, *other))) for one, other in APART),
    Case("4.1 the order of other fields", (goes(BY_BOTH, "X-A: 1", "X-B: 2"), held("X-B: 2", "X-A: 1"))),
    Case("4.1 all of them count", (goes(BY_BOTH, "X-A: 1", "X-B: 2"), goes(BY_BOTH, "X-A: 1", "X-B: 3"))),
    Case(
        "4.1 values are not mixed up", (goes(BY_BOTH, "X-A: 1", "X-B: 2"), goes(BY_BOTH, "X-A: 2", "X-B: 1"))
    ),
    Case(
        "4.1 several lines of Vary",
        (
            goes(says(FRESH, "Vary: X-A", "Vary: X-B"), "X-A: 1", "X-B: 2"),
            held("X-A: 1", "X-B: 2"),
            goes(BY_BOTH, "X-A: 1", "X-B: 3"),
        ),
    ),
    Case(
        "4.1 names in any case",
        (goes(says(FRESH, "Vary: x-a"), "X-A: 1"), goes(BY_A, "X-A: 2"), held("x-a: 1")),
    ),
    Case("4.1 an empty Vary says nothing", (goes(says(FRESH, "Vary:"), "X-A: 1"), held("X-A: 2"))),
    unstored("4.1 *", FRESH, "Vary: *"),
    unstored("4.1 * among others", FRESH, "Vary: X-A, *, X-B"),
    unstored("4.1 * on another line", FRESH, "Vary: X-A", "Vary: *"),
    Case(
        "4.1 each variant is kept",
        (
            goes(BY_A, "X-A: 1"),
            goes(BY_A, "X-A: 2"),
            goes(BY_A),
            held("X-A: 1"),
            held("X-A: 2", body=b"2"),
            held(body=b"3"),
        ),
    ),
    Case(
        "4.1 each variant has its own age",
        (
            goes(BY_A, "X-A: 1"),
            goes(BY_A, "X-A: 2", later=40),
            held("X-A: 2", body=b"2", later=30),
            goes(BY_A, "X-A: 1"),
        ),
    ),
    Case(
        "4.1 a later answer that varies more",
        (
            goes(BY_A, "X-A: 1", "X-B: 1"),
            goes(BY_BOTH, "X-A: 2", "X-B: 1"),
            held("X-A: 2", "X-B: 1", body=b"2"),
            goes(BY_BOTH, "X-A: 2", "X-B: 2"),
        ),
    ),
    Case(
        "4.1 a later answer that does not vary is for everyone",
        (goes(BY_A, "X-A: 1"), goes(says(FRESH), "X-A: 2"), held("X-A: 3", body=b"2")),
    ),
    Case(
        "4.1 a 304 that varies by more",
        (
            goes(says(FRESH, ETAG), "X-A: 1"),
            confirmed(says(FRESH, ETAG, "Vary: X-A", status=304), "X-A: 1", later=61),
            held("X-A: 1"),
            goes(BY_A, "X-A: 2"),
        ),
    ),
    Case(
        "4.1 a 304 without Vary leaves it as it was",
        (
            goes(says(FRESH, ETAG, "Vary: X-A"), "X-A: 1"),
            confirmed(says(FRESH, ETAG, status=304), "X-A: 1", later=61),
            held("X-A: 1", gets={"vary": "X-A"}),
            goes(BY_A, "X-A: 2"),
        ),
    ),
    Case(
        "4.1 a 304 that varies by anything is the last",
        (
            goes(says(FRESH, ETAG)),
            confirmed(says(FRESH, ETAG, "Vary: *", status=304), later=61),
            goes(says(FRESH)),
        ),
    ),
    Case(
        "4.1 no other variant's validator is asked with",
        (
            goes(says(FRESH, ETAG, "Vary: X-A"), "X-A: 1"),
            goes(BY_A, "X-A: 2", later=61, asked={"if-none-match": None}),
        ),
    ),
    Case(
        "12.5.5 Accept-Encoding",
        (
            goes(says(FRESH, "Vary: Accept-Encoding", "Content-Encoding: gzip"), "Accept-Encoding: gzip"),
            held("Accept-Encoding: gzip", gets={"content-encoding": "gzip"}),
            goes(says(FRESH, "Vary: Accept-Encoding")),
            held(body=b"2", gets={"content-encoding": None}),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9111_4_1(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
