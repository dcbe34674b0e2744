"""RFC 9110, section 13, and RFC 9111, section 4.3.2: a client that may have it already."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import ETAG, FRESH, Case, Proxied, Step, goes, held, says

CHANGED = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"
NONE = "If-None-Match: "
SINCE = "If-Modified-Since: "

HAS_IT = (
    ((ETAG,), NONE + '"a"'),
    ((ETAG,), NONE + "*"),
    (("X-A: 1",), NONE + "*"),
    ((ETAG,), NONE + 'W/"a"'),
    (('ETag: W/"a"',), NONE + '"a"'),
    (('ETag: W/"a"',), NONE + 'W/"a"'),
    ((ETAG,), NONE + '"x", "a"'),
    ((ETAG,), NONE + '"x","a","y"'),
    ((ETAG,), NONE + '"x" , W/"a"'),
    ((ETAG,), NONE + ', "a",'),
    (('ETag: "a,b"',), NONE + '"x", "a,b"'),
    (('ETag: ""',), NONE + '""'),
    (('ETag: "\xe4"',), NONE + '"\xe4"'),
    ((CHANGED,), SINCE + "Sun, 06 Nov 1994 08:49:37 GMT"),
    ((CHANGED,), SINCE + "Sun, 06 Nov 1994 08:49:38 GMT"),
    ((CHANGED,), SINCE + "Sunday, 06-Nov-94 08:49:37 GMT"),
    ((CHANGED,), SINCE + "Sun Nov  6 08:49:37 1994"),
    (("Date: {now}",), SINCE + "Tue, 01 Jan 2047 00:00:00 GMT"),
    (("Last-Modified: x", "Date: {now}"), SINCE + "Tue, 01 Jan 2047 00:00:00 GMT"),
)
HAS_NOT = (
    ((ETAG,), NONE + '"b"'),
    ((ETAG,), NONE + '"A"'),
    ((ETAG,), NONE + "a"),
    ((ETAG,), NONE + "'a'"),
    ((ETAG,), NONE + '"a'),
    ((ETAG,), NONE + 'w/"a"'),
    ((ETAG,), NONE + ""),
    ((ETAG,), NONE + '"x, "a"'),
    ((ETAG,), NONE + '"*"'),
    (("X-A: 1",), NONE + '"a"'),
    ((CHANGED,), NONE + '"a"'),
    ((CHANGED,), SINCE + "Sun, 06 Nov 1994 08:49:36 GMT"),
    ((CHANGED,), SINCE + "yesterday"),
    ((CHANGED,), SINCE + "2047-01-01"),
    ((CHANGED,), SINCE + ""),
    ((CHANGED,), SINCE + "Tue, 01 Jan 2047 00:00:00 +0000"),
    (("Date: {now}",), SINCE + "Sun, 06 Nov 1994 08:49:37 GMT"),
)


def not_modified(*sends: str, method: str = "GET") -> Step:
    return held(*sends, method=method, status=304, gets={"content-length": None, "content-type": None})


CASES = [
    *(
        Case(
            f"13.1 {line} has {lines[0]}", (goes(says(FRESH, "Content-Type: x", *lines)), not_modified(line))
        )
        for lines, line in HAS_IT
    ),
    *(
        Case(f"13.1 {line} has not {lines[0]}", (goes(says(FRESH, *lines)), held(line)))
        for lines, line in HAS_NOT
    ),
    Case("13.1.2 lines are one list", (goes(says(FRESH, ETAG)), not_modified(NONE + '"x"', NONE + '"a"'))),
    Case(
        "13.1.3 If-None-Match before If-Modified-Since",
        (
            goes(says(FRESH, ETAG, CHANGED)),
            held(NONE + '"b"', SINCE + "Tue, 01 Jan 2047 00:00:00 GMT"),
            not_modified(NONE + '"a"', SINCE + "Sun, 06 Nov 1994 08:49:36 GMT"),
        ),
    ),
    Case("13.2.1 HEAD too", (goes(says(FRESH, ETAG)), not_modified(NONE + '"a"', method="HEAD"))),
    Case(
        "15.4.5 what a 304 tells",
        (
            goes(
                says(
                    "Expires: Tue, 01 Jan 2047 00:00:00 GMT",
                    ETAG,
                    "Vary: X-A",
                    "Content-Location: /x",
                    "Cache-Control: public, max-age=60",
                )
            ),
            held(
                NONE + '"a"',
                status=304,
                later=9,
                gets={
                    "expires": "Tue, 01 Jan 2047 00:00:00 GMT",
                    "etag": '"a"',
                    "vary": "X-A",
                    "content-location": "/x",
                    "cache-control": "public, max-age=60",
                    "age": "9",
                },
            ),
        ),
    ),
    *(
        Case(
            f"13.2.1 no condition on a {status}",
            (
                goes(says(FRESH, ETAG, status=status)),
                held(NONE + '"a"', status=status),
                held(NONE + "*", status=status),
            ),
        )
        for status in (301, 404, 410, 500)
    ),
    *(
        Case(
            f"13.1 {line} is for the origin",
            (
                goes(says(FRESH, ETAG)),
                goes(says(status=412), line, asked={line.partition(":")[0].lower(): line.partition(": ")[2]}),
                held(),
            ),
        )
        for line in ('If-Match: "b"', "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT", "If-Match: *")
    ),
    Case(
        "13.1 a condition where nothing is stored is passed on, and the answer stored",
        (
            goes(
                says(FRESH, ETAG),
                NONE + '"b"',
                SINCE + "x",
                asked={"if-none-match": '"b"', "if-modified-since": "x"},
            ),
            held(),
        ),
    ),
    Case(
        "13.1 a 304 where nothing is stored is not stored",
        (
            goes(says(FRESH, ETAG, status=304), NONE + '"a"'),
            goes(says(FRESH, ETAG)),
            held(body=b"2"),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9110_13(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
