"""RFC 9213: directives for this cache alone, in ``Sipup-Cache-Control``."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import (
    ETAG,
    FRESH,
    Case,
    Proxied,
    confirmed,
    goes,
    held,
    says,
    stored,
    unstored,
)

OURS = "Sipup-Cache-Control: "
NO = "Cache-Control: no-store"
INVALID = (
    "",
    "max-age",
    "max-age=x",
    "max-age=1.5",
    "MAX-AGE=60",
    "max-age=60, =",
    "max-age=60,",
    "x",
    '"max-age=60"',
    "max-age=-1",
)

CASES = [
    stored("2.2 it counts, not Cache-Control", NO, OURS + "max-age=60"),
    unstored("2.2 it forbids, not Cache-Control", FRESH, OURS + "no-store"),
    unstored("2.2 it is private, not Cache-Control", FRESH, OURS + "private"),
    stored("2.2 not Expires", "Expires: {now-9}", OURS + "max-age=60"),
    unstored("2.2 it says no lifetime, and Expires does not count", "Expires: {now+60}", OURS + "public"),
    Case(
        "2.2 the lifetime is its own",
        (goes(says(FRESH, OURS + "max-age=90")), held(later=89), goes(says(FRESH), later=1)),
    ),
    Case(
        "2.2 s-maxage before max-age",
        (goes(says(OURS + "max-age=9, s-maxage=90")), held(later=89), goes(says(FRESH), later=1)),
    ),
    Case(
        "2.2 no-cache", (goes(says(FRESH, OURS + "no-cache", ETAG)), confirmed(says(FRESH, ETAG, status=304)))
    ),
    Case(
        "2.1 it is not passed on",
        (
            goes(
                says(FRESH, OURS + "max-age=90"),
                gets={"sipup-cache-control": None, "cache-control": "max-age=60"},
            ),
            held(gets={"sipup-cache-control": None, "cache-control": "max-age=60"}),
        ),
    ),
    *(
        stored(f"2.1 {text!r} is nothing: Cache-Control counts", FRESH, OURS + text, later=59)
        for text in ("max-age=60, =", "=", '"x"', "")
    ),
    *(unstored(f"2.1 {text!r} makes nothing fresh", NO, OURS + text) for text in INVALID),
    Case(
        "2.1 of duplicates the last",
        (goes(says(OURS + "max-age=9, max-age=90")), held(later=89), goes(says(FRESH), later=1)),
    ),
    Case("2.1 two lines", (goes(says(OURS + "public", OURS + "max-age=90")), held(later=89))),
    stored("2.1 parameters are ignored", NO, OURS + "max-age=60;x=1"),
    stored("2.1 an unknown member is ignored", NO, OURS + "max-age=60, foo=(1 2)"),
    Case(
        "2 other targets pass",
        (goes(says(FRESH, "CDN-Cache-Control: no-store")), held(gets={"cdn-cache-control": "no-store"})),
    ),
    Case(
        "2.2 a 304 that renews it",
        (
            goes(says(OURS + "max-age=60", ETAG)),
            confirmed(
                says(OURS + "max-age=90", ETAG, status=304), later=61, gets={"sipup-cache-control": None}
            ),
            held(later=89),
            confirmed(says(FRESH, ETAG, status=304), later=1),
        ),
    ),
    Case(
        "2.2 a 304 that does not name it",
        (
            goes(says(NO, OURS + "max-age=60", ETAG)),
            confirmed(says(NO, ETAG, status=304), later=61),
            held(later=59),
        ),
    ),
    Case(
        "2.2 on an answer that is not stored",
        (goes(says(OURS + "no-store"), gets={"sipup-cache-control": None}),),
    ),
    Case(
        "2.2 on an answer to a POST",
        (goes(says(OURS + "no-store"), method="POST", content=b"x", gets={"sipup-cache-control": None}),),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9213(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
