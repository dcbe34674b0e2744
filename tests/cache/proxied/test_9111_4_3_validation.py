"""RFC 9111, section 4.3: asking whether a stored answer still holds."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import (
    ETAG,
    FRESH,
    GONE,
    MODIFIED,
    Case,
    Proxied,
    Step,
    confirmed,
    goes,
    held,
    says,
)

WEAK = 'ETag: W/"a"'
CHANGED = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"
SINCE = "Sun, 06 Nov 1994 08:49:37 GMT"
UNCHANGED = says(FRESH, ETAG, status=304)
NEWER = says(FRESH, 'ETag: "b"')


CASES = [
    *(
        Case(
            f"4.3.1 asked with {' and '.join(lines) or 'nothing'}",
            (
                goes(says(FRESH, *lines)),
                confirmed(says(FRESH, *lines, status=304), later=61, asked=asked),
                held(),
            ),
        )
        for lines, asked in (
            ((ETAG,), {"if-none-match": '"a"', "if-modified-since": None}),
            ((WEAK,), {"if-none-match": 'W/"a"', "if-modified-since": None}),
            ((CHANGED,), {"if-none-match": None, "if-modified-since": SINCE}),
            ((ETAG, CHANGED), {"if-none-match": '"a"', "if-modified-since": SINCE}),
            (('ETag: "a,b"',), {"if-none-match": '"a,b"'}),
            (('ETag: ""',), {"if-none-match": '""'}),
        )
    ),
    Case(
        "4.3.1 nothing to ask with",
        (
            goes(says(FRESH)),
            goes(says(FRESH), later=61, asked={"if-none-match": None, "if-modified-since": None}),
        ),
    ),
    Case(
        "4.3.1 a Date is no Last-Modified",
        (goes(says(FRESH, "Date: {now}")), goes(says(FRESH), later=61, asked={"if-modified-since": None})),
    ),
    Case(
        "4.3.3 a full answer takes its place",
        (goes(says(FRESH, ETAG)), goes(NEWER, later=61, asked={"if-none-match": '"a"'}), held(body=b"2")),
    ),
    Case(
        "4.3.3 a full answer with the same validator takes its place",
        (goes(says(FRESH, ETAG)), goes(says(FRESH, ETAG), later=61), held(body=b"2")),
    ),
    Case(
        "4.3.3 a full answer that may not be stored ends it",
        (
            goes(says(FRESH, ETAG)),
            goes(says("Cache-Control: no-store"), later=61),
            goes(NEWER, asked={"if-none-match": None}),
        ),
    ),
    *(
        Case(
            f"4.3.3 a {status} takes its place",
            (
                goes(says(FRESH, ETAG)),
                goes(says(FRESH, status=status), later=61),
                held(body=b"2", status=status),
            ),
        )
        for status in (204, 301, 403, 404, 410)
    ),
    *(
        Case(
            f"4.3.3 a {status} when must-revalidate",
            (
                goes(says(f"{FRESH}, must-revalidate", ETAG)),
                goes(says(status=status), later=61),
                confirmed(UNCHANGED),
            ),
        )
        for status in (500, 502, 503, 504)
    ),
    Case(
        "4.2.4 the origin is gone, when must-revalidate",
        (goes(says(f"{FRESH}, must-revalidate", ETAG)), Step(GONE, status=502, body=b"", later=61)),
    ),
    Case(
        "4.3.2 a client's validator is not passed on",
        (
            goes(says(FRESH, ETAG)),
            confirmed(UNCHANGED, 'If-None-Match: "mine"', later=61, asked={"if-none-match": '"a"'}),
        ),
    ),
    Case(
        "4.3.2 a client that has what is confirmed",
        (
            goes(says(FRESH, ETAG)),
            Step(
                says(FRESH, ETAG, "X-A: 1", status=304),
                ('If-None-Match: "a"',),
                later=61,
                status=304,
                gets={"x-a": "1", "etag": '"a"'},
            ),
            held(gets={"x-a": "1"}),
        ),
    ),
    Case(
        "4.3.2 a client with a condition gets what is newer",
        (
            goes(says(FRESH, ETAG)),
            goes(NEWER, 'If-None-Match: "a"', later=61),
            held(body=b"2"),
        ),
    ),
    Case(
        "4.3.5 HEAD of what is stale, unchanged",
        (
            goes(says(FRESH, ETAG)),
            goes(says(FRESH, ETAG, "Content-Length: 1", "X-A: 1"), method="HEAD", later=61),
            held(gets={"x-a": "1"}),
        ),
    ),
    *(
        Case(
            f"4.3.5 HEAD of what is stale, with {line}",
            (
                goes(says(FRESH, ETAG, CHANGED)),
                goes(says(FRESH, line), method="HEAD", later=61),
                goes(NEWER, asked={"if-none-match": None}),
            ),
        )
        for line in ('ETag: "b"', "Content-Length: 2", "Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT")
    ),
    Case(
        "4.3.5 HEAD that fails changes nothing",
        (
            goes(says(FRESH, ETAG)),
            goes(says(status=501), method="HEAD", later=61),
            confirmed(UNCHANGED),
        ),
    ),
    Case(
        "4.3.1 HEAD of what is fresh after a 304",
        (
            goes(says(FRESH, ETAG, MODIFIED)),
            confirmed(says(FRESH, ETAG, status=304), later=61),
            held(method="HEAD"),
        ),
    ),
    Case(
        "4.3.1 it is confirmed again and again",
        (
            goes(says(FRESH, ETAG)),
            *(
                step
                for _ in range(3)
                for step in (confirmed(UNCHANGED, later=61, asked={"if-none-match": '"a"'}), held())
            ),
        ),
    ),
    Case(
        "4.3.1 what is stale at once is kept to be confirmed",
        (
            goes(says("Cache-Control: max-age=0", ETAG)),
            confirmed(UNCHANGED, asked={"if-none-match": '"a"'}),
            held(),
        ),
    ),
    Case(
        "4.3.1 a condition that the client makes is kept if there is nothing stored",
        (
            goes(says(FRESH, ETAG, status=304), 'If-None-Match: "a"', asked={"if-none-match": '"a"'}),
            goes(says(FRESH, ETAG), asked={"if-none-match": None}),
            held(body=b"2"),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9111_4_3(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
