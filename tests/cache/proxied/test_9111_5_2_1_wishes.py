"""RFC 9111, sections 5.2.1 and 5.4, and RFC 8246: what a client asks of a cache, which heeds it or not."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import ETAG, FRESH, Case, Proxied, Step, confirmed, goes, held, honored, says

KNOWN = goes(says(FRESH, ETAG))
UNCHANGED = says(FRESH, ETAG, status=304)
RELOADS = (
    "no-cache",
    "NO-CACHE",
    "max-age=0",
    "no-cache, max-age=0",
    "max-age=x",
    'max-age="0"',
    "x, no-cache",
    "no-cache=x",
)
ADVICE = (*RELOADS, "only-if-cached", "min-fresh=999", "max-stale=9", "no-transform", "x")
GATEWAY = {"cache-control": "no-store", "age": None}


def wish(text: str) -> str:
    return f"Cache-Control: {text}"


def refused(*sends: str, later: float = 0.0) -> Step:
    return Step(None, sends, status=504, gets=GATEWAY, later=later)


CASES = [
    *(Case(f"5.2.1 {text} is advice", (KNOWN, held(wish(text), later=30))) for text in ADVICE),
    Case("5.4 Pragma is advice", (KNOWN, held("Pragma: no-cache"))),
    Case(
        "5.2.1 an advised cache asks when it has nothing", (goes(says(FRESH), wish("only-if-cached")), held())
    ),
    Case("5.2.1.2 max-stale is advice", (KNOWN, confirmed(UNCHANGED, wish("max-stale"), later=61))),
    Case(
        "5.2.1.5 no-store always counts",
        (goes(says(FRESH), wish("no-store")), goes(says(FRESH)), held(wish("no-store"), body=b"2")),
    ),
    *(
        honored(
            f"5.2.1 {text}",
            KNOWN,
            confirmed(UNCHANGED, wish(text), later=1, asked={"if-none-match": '"a"'}),
            held(),
        )
        for text in RELOADS
    ),
    honored(
        "5.2.1.4 no-cache without a validator",
        goes(says(FRESH)),
        goes(says(FRESH), wish("no-cache")),
        held(body=b"2"),
    ),
    honored(
        "5.2.1.4 no-cache, and it has changed",
        KNOWN,
        goes(says(FRESH, 'ETag: "b"'), wish("no-cache")),
        held(body=b"2"),
    ),
    honored(
        "5.2.1.4 no-cache, and an error",
        KNOWN,
        Step(says(status=404), (wish("no-cache"),)),
        goes(says(FRESH)),
    ),
    honored("5.2.1.4 no-cache before max-stale", KNOWN, confirmed(UNCHANGED, wish("max-stale, no-cache"))),
    honored(
        "5.2.1.4 a condition of the client's too",
        KNOWN,
        Step(UNCHANGED, (wish("no-cache"), 'If-None-Match: "a"'), status=304),
    ),
    honored("5.4 Pragma", KNOWN, confirmed(UNCHANGED, "Pragma: no-cache")),
    honored(
        "5.4 Pragma does not count beside Cache-Control", KNOWN, held("Pragma: no-cache", wish("max-age=60"))
    ),
    honored("5.4 another Pragma", KNOWN, held("Pragma: x")),
    honored(
        "5.2.1.1 max-age",
        KNOWN,
        held(wish("max-age=30"), later=30),
        confirmed(UNCHANGED, wish("max-age=30"), later=1),
    ),
    honored(
        "5.2.1.1 max-age beyond the lifetime", KNOWN, confirmed(UNCHANGED, wish("max-age=999"), later=60)
    ),
    honored(
        "5.2.1.1 max-age and the upstream Age",
        goes(says(FRESH, ETAG, "Age: 20")),
        confirmed(UNCHANGED, wish("max-age=30"), later=11),
    ),
    honored(
        "5.2.1.1 two of them", KNOWN, confirmed(UNCHANGED, wish("max-age=99"), wish("max-age=5"), later=6)
    ),
    honored(
        "5.2.1.3 min-fresh",
        KNOWN,
        held(wish("min-fresh=30"), later=30),
        confirmed(UNCHANGED, wish("min-fresh=30"), later=1),
    ),
    honored("5.2.1.3 min-fresh beyond the lifetime", KNOWN, confirmed(UNCHANGED, wish("min-fresh=61"))),
    honored("5.2.1.2 max-stale", KNOWN, held(wish("max-stale"), later=90, gets={"age": "90"})),
    honored(
        "5.2.1.2 max-stale of seconds",
        KNOWN,
        held(wish("max-stale=30"), later=90),
        confirmed(UNCHANGED, wish("max-stale=30"), later=1),
    ),
    honored(
        "5.2.1.2 max-stale that is no number", KNOWN, confirmed(UNCHANGED, wish("max-stale=x"), later=61)
    ),
    honored(
        "5.2.1.2 max-stale and max-age",
        KNOWN,
        confirmed(UNCHANGED, wish("max-stale=90, max-age=61"), later=62),
    ),
    honored(
        "5.2.1.2 max-stale, but for how long it is kept without a validator",
        goes(says(FRESH)),
        held(wish("max-stale"), later=61),
    ),
    *(
        honored(
            f"4.2.4 max-stale against {text}",
            goes(says(f"{FRESH}, {text}", ETAG)),
            confirmed(UNCHANGED, wish("max-stale"), later=61),
        )
        for text in ("must-revalidate", "proxy-revalidate", "s-maxage=60", "Must-Revalidate")
    ),
    honored(
        "4.2.4 max-stale against no-cache",
        goes(says("Cache-Control: no-cache", ETAG)),
        confirmed(UNCHANGED, wish("max-stale")),
    ),
    honored("5.2.1.7 only-if-cached, fresh", KNOWN, held(wish("only-if-cached"))),
    honored(
        "5.2.1.7 only-if-cached, stale",
        KNOWN,
        refused(wish("only-if-cached"), later=61),
        confirmed(UNCHANGED),
    ),
    honored("5.2.1.7 only-if-cached, nothing", refused(wish("only-if-cached")), goes(says(FRESH)), held()),
    honored("5.2.1.7 only-if-cached and max-stale", KNOWN, held(wish("only-if-cached, max-stale"), later=61)),
    honored(
        "5.2.1.7 only-if-cached and a condition",
        KNOWN,
        held(wish("only-if-cached"), 'If-None-Match: "a"', status=304),
    ),
    honored(
        "5.2.1.7 only-if-cached and a range",
        goes(says(FRESH, body=b"123")),
        held(wish("only-if-cached"), "Range: bytes=1-1", status=206, body=b"2"),
    ),
    honored(
        "5.2.1.7 only-if-cached, and the variant is not there",
        goes(says(FRESH, "Vary: X-A"), "X-A: 1"),
        refused(wish("only-if-cached"), "X-A: 2"),
    ),
    honored("5.2.1 an unknown directive says nothing", KNOWN, held(wish("x, y=z"), later=59)),
    honored(
        "8246 2 immutable while fresh",
        goes(says(f"{FRESH}, immutable", ETAG)),
        held(wish("max-age=0"), later=59),
    ),
    honored(
        "8246 2 immutable, but no-cache",
        goes(says(f"{FRESH}, immutable", ETAG)),
        confirmed(UNCHANGED, wish("no-cache")),
    ),
    honored(
        "8246 2 immutable no longer",
        goes(says(f"{FRESH}, immutable", ETAG)),
        confirmed(UNCHANGED, wish("max-age=0"), later=60),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9111_5_2_1(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
