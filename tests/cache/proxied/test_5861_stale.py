"""RFC 5861, and RFC 9111, section 4.2.4: what is sent stale, and what forbids it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cache.proxied.cases import (
    ETAG,
    FRESH,
    GONE,
    Case,
    Proxied,
    Step,
    confirmed,
    goes,
    held,
    honored,
    says,
)

SWR = "Cache-Control: max-age=60, stale-while-revalidate=30"
SIE = "Cache-Control: max-age=60, stale-if-error=30"
NEVER = f"{SIE}, must-revalidate"
TAKES = "Cache-Control: stale-if-error=90"
NONE = "Cache-Control: stale-if-error=0"
UNCHANGED = says(FRESH, ETAG, status=304)
SECOND = held(body=b"2", eventually=True)


def spared(status: int = 500, **more: Any) -> Step:
    """An error of the origin in whose place the client gets what is stored."""
    return Step(says(status=status), status=200, body=b"1", **more)


CASES = [
    Case(
        "3 it is sent, and made anew behind",
        (goes(says(SWR)), held(later=61, behind=says(FRESH), gets={"age": "61"}), SECOND),
    ),
    Case(
        "3 it is asked about behind",
        (goes(says(SWR, ETAG)), held(later=61, behind=says(FRESH), asked={"if-none-match": '"a"'}), SECOND),
    ),
    Case("3 to the last second", (goes(says(SWR)), held(later=89, behind=says(FRESH)), SECOND)),
    Case("3 no longer", (goes(says(SWR, ETAG)), confirmed(UNCHANGED, later=90))),
    Case(
        "3 no number",
        (
            goes(says("Cache-Control: max-age=60, stale-while-revalidate=x", ETAG)),
            confirmed(UNCHANGED, later=61),
        ),
    ),
    Case("3 none", (goes(says(FRESH, ETAG)), confirmed(UNCHANGED, later=61))),
    Case(
        "3 also with Expires",
        (
            goes(says("Expires: {now+60}", "Cache-Control: stale-while-revalidate=30")),
            held(later=61, behind=says(FRESH)),
            SECOND,
        ),
    ),
    Case("3 to HEAD too", (goes(says(SWR)), held(method="HEAD", later=61, behind=says(FRESH)), SECOND)),
    Case(
        "3 a condition of the client's",
        (
            goes(says(SWR, ETAG)),
            held(
                'If-None-Match: "a"', later=61, status=304, behind=says(FRESH), asked={"if-none-match": '"a"'}
            ),
            SECOND,
        ),
    ),
    Case(
        "3 a range of the client's",
        (
            goes(says(SWR, body=b"123")),
            held(
                "Range: bytes=0-0",
                later=61,
                status=206,
                behind=says(FRESH, body=b"456"),
                asked={"range": None},
            ),
            held(body=b"456", eventually=True),
        ),
    ),
    *(
        Case(f"4.2.4 {text} forbids it", (goes(says(f"{SWR}, {text}", ETAG)), confirmed(UNCHANGED, later=61)))
        for text in ("must-revalidate", "proxy-revalidate", "s-maxage=60", "MUST-REVALIDATE")
    ),
    Case("4.2.4 no-cache forbids it", (goes(says(f"{SWR}, no-cache", ETAG)), confirmed(UNCHANGED))),
    *(Case(f"4 a {status}", (goes(says(SIE)), spared(status, later=61))) for status in (500, 502, 503, 504)),
    *(
        Case(f"4 a {status} is no such error", (goes(says(SIE)), goes(says(status=status), later=61)))
        for status in (501, 404, 429)
    ),
    Case("4 the origin is gone", (goes(says(SIE)), Step(GONE, later=61, status=200, body=b"1"))),
    Case("4 to the last second", (goes(says(SIE)), spared(later=89))),
    Case("4 no longer", (goes(says(SIE)), goes(says(status=500), later=90))),
    Case("4 its age is told", (goes(says(SIE)), spared(later=61, gets={"age": "61"}))),
    Case(
        "4 a condition of the client's",
        (goes(says(SIE, ETAG)), Step(says(status=500), ('If-None-Match: "a"',), later=61, status=304)),
    ),
    Case("4 it holds on", (goes(says(SIE, ETAG)), spared(later=61), spared(later=9), confirmed(UNCHANGED))),
    Case("4 HEAD too", (goes(says(SIE)), spared(method="HEAD", later=61))),
    Case(
        "4 HEAD, and the origin is gone", (goes(says(SIE)), Step(GONE, method="HEAD", later=61, status=200))
    ),
    Case("4 HEAD no longer", (goes(says(SIE)), goes(says(status=500), method="HEAD", later=90))),
    honored("4 a client that takes older", goes(says(SIE, ETAG)), spared(sends=(TAKES,), later=119)),
    honored("4 a client that takes none", goes(says(SIE)), goes(says(status=500), NONE, later=61)),
    honored(
        "4 a client's word is not the last", goes(says(NEVER, ETAG)), goes(says(status=500), TAKES, later=61)
    ),
    Case("4 a client that is not heeded", (goes(says(SIE, ETAG)), goes(says(status=500), TAKES, later=90))),
    Case(
        "4 zero forbids it",
        (goes(says("Cache-Control: max-age=60, stale-if-error=0")), goes(says(status=500), later=61)),
    ),
    Case("4 the house's minute", (goes(says(FRESH)), spared(later=119), goes(says(status=500), later=1))),
    *(
        Case(
            f"4.2.4 {text} forbids it on an error",
            (goes(says(f"{SIE}, {text}", ETAG)), goes(says(status=503), later=61)),
        )
        for text in ("must-revalidate", "proxy-revalidate", "s-maxage=60")
    ),
    Case(
        "4.2.4 no-cache forbids it on an error",
        (goes(says("Cache-Control: no-cache, stale-if-error=99", ETAG)), goes(says(status=503))),
    ),
    Case(
        "4 an error that declares a lifetime is not stored in its place",
        (
            goes(says(SIE, ETAG)),
            Step(says(FRESH, status=503), later=61, status=200, body=b"1"),
            confirmed(UNCHANGED),
        ),
    ),
    Case(
        "4.3.3 an answer that breaks off is no answer",
        (
            goes(says(SIE, ETAG)),
            Step(says(FRESH, body=b"hello", cut=2), later=61, status=200, whole=False),
            confirmed(UNCHANGED),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_5861(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
