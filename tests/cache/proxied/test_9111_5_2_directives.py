"""RFC 9111, section 5.2.2: what an answer's Cache-Control says, however it is written."""

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

FORBIDDING = (
    "no-store",
    "No-Store",
    "NO-STORE",
    "no-store=x",
    'no-store="x"',
    "private",
    "PrIvAtE",
    'private=""',
    "no-cache",
    "NO-CACHE",
    'private="x-a", private',
    'no-cache, no-cache="x-a"',
)
HOUR = "max-age=3600"
HARMLESS = (
    "x-unknown",
    "x-unknown=no-store",
    'x-unknown="no-store, private"',
    'x-unknown="a\\", no-store"',
    "no-storex",
    "xprivate",
    "no-transform",
    "immutable",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "min-fresh=9999",
    "max-stale=0",
    "only-if-cached",
    ",,,",
    "=",
    "=no-store",
    '""',
)
NUMBERS = (
    ("max-age=60", 60),
    ("MAX-AGE=60", 60),
    ('max-age="60"', 60),
    ("max-age=060", 60),
    ("max-age=60, max-age=90", 60),
    ("max-age=90, max-age=60", 60),
    ("s-maxage=60, s-maxage=90, max-age=9", 60),
)
NO_NUMBERS = ("-60", "60.5", "6e1", "0x3c", "sixty", "", '""', "'60'", "60s", "60 60", "+60", "\xb2\xb2")


def control(*lines: str) -> tuple[str, ...]:
    return tuple(f"Cache-Control: {line}" for line in lines)


CASES = [
    *(unstored(f"5.2 {text} first", *control(f"{text}, {HOUR}")) for text in FORBIDDING),
    *(unstored(f"5.2 {text} last", *control(f"public, {HOUR}, {text}")) for text in FORBIDDING),
    *(unstored(f"5.2 {text} on its own line", *control(HOUR, "public", text)) for text in FORBIDDING),
    *(unstored(f"5.2 {text} without spaces", *control(f"{HOUR},,{text},x")) for text in FORBIDDING),
    *(unstored(f"5.2 {text} and Expires", "Expires: {now+60}", *control(text)) for text in FORBIDDING),
    *(stored(f"5.2.3 {text} is ignored before", *control(f"{text}, {HOUR}")) for text in HARMLESS),
    *(stored(f"5.2.3 {text} is ignored after", *control(f"{HOUR}, {text}")) for text in HARMLESS),
    *(
        Case(f"1.2.2 {text}", (goes(says(*control(text))), held(later=at - 1), goes(says(FRESH), later=1)))
        for text, at in NUMBERS
    ),
    *(unstored(f"4.2.1 max-age={text}", *control(f"max-age={text}")) for text in NO_NUMBERS),
    *(unstored(f"4.2.1 s-maxage={text}", *control(f"s-maxage={text}, {HOUR}")) for text in NO_NUMBERS),
    unstored("4.2.1 max-age of nothing", *control("max-age")),
    unstored("4.2.1 max-age that is no number, and one", *control("max-age=x, max-age=60")),
    stored("5.2 tabs and spaces around", "Cache-Control: \t max-age=60 \t,\t public \t"),
    stored("5.2 two lines", *control("public", "max-age=60")),
    stored("5.4 Pragma in an answer says nothing", "Pragma: no-cache", FRESH),
    unstored("5.2 a quote that is never closed hides nothing", *control('x="a, max-age=60, no-store')),
    Case(
        "5.2.2.4 no-cache with a validator is asked about each time",
        (
            goes(says(*control(f"no-cache, {HOUR}"), ETAG)),
            confirmed(says(*control(f"no-cache, {HOUR}"), ETAG, status=304), asked={"if-none-match": '"a"'}),
            confirmed(says(*control(f"no-cache, {HOUR}"), ETAG, status=304), asked={"if-none-match": '"a"'}),
        ),
    ),
    *(
        Case(
            f"5.2.2 {name}={listed}: the rest is stored",
            (
                goes(
                    says(*control(f"{HOUR}, {name}={listed}"), "X-A: 1", "X-B: 2", "X-C: 3"),
                    gets={"x-a": "1"},
                ),
                held(gets={"x-a": None, "x-b": gone, "x-c": "3"}),
            ),
        )
        for name in ("no-cache", "private", "Private")
        for listed, gone in (
            ('"X-A"', "2"),
            ('"x-a, x-b"', None),
            ("x-a", "2"),
            ('"x-a",private="x-b"', None),
        )
    ),
    Case(
        "5.2.2.7 private of Set-Cookie: the rest is stored",
        (
            goes(
                says(*control(f'{HOUR}, private="set-cookie"'), "Set-Cookie: a=b"), gets={"set-cookie": "a=b"}
            ),
            held(gets={"set-cookie": None}),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9111_5_2_2(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
