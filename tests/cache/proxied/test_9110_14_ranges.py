"""RFC 9110, section 14: a part of what is stored."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import ETAG, FRESH, GONE, Case, Proxied, Step, confirmed, goes, held, says

DIGITS = b"0123456789"
CHANGED = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"
SINCE = CHANGED.partition(": ")[2]
WHOLE = says(FRESH, ETAG, CHANGED, "Content-Type: text/x", body=DIGITS)
PART = says(FRESH, ETAG, "Content-Range: bytes 0-1/10", status=206, body=b"01")
ETAG_B = says(FRESH, 'ETag: "b"', body=b"abc")


def part(first: int, last: int, *sends: str, **more: float) -> Step:
    gets = {
        "content-range": f"bytes {first}-{last}/10",
        "content-length": str(last - first + 1),
        "content-type": "text/x",
        "etag": '"a"',
    }
    return held(*sends, status=206, body=DIGITS[first : last + 1], gets=gets, **more)


def after(name: str, *steps: Step) -> Case:
    """A case that begins with ten stored digits."""
    return Case(name, (goes(WHOLE), *steps))


PARTS = (
    ("0-0", 0, 0),
    ("0-9", 0, 9),
    ("2-5", 2, 5),
    ("2-", 2, 9),
    ("9-", 9, 9),
    ("-1", 9, 9),
    ("-10", 0, 9),
    ("-99", 0, 9),
    ("5-99", 5, 9),
    ("005-006", 5, 6),
    ("5-99999999999999999999999999", 5, 9),
)
WHOLES = ("5-2", "", "-", "x-y", "1", "0-1,3-4", "0-1, -1", "1-2-3", "0x0-1", "+1-2", " 1-2", "1.0-2")
NOWHERE = ("10-", "10-20", "99999999999999999999999999-", "-0")

CASES = [
    *(
        after(f"14.1.2 {asked}", part(first, last, f"Range: bytes={asked}"), held(body=DIGITS))
        for asked, first, last in PARTS
    ),
    *(
        after(
            f"14.2 {asked!r} gets the whole",
            held(f"Range: bytes={asked}", body=DIGITS, gets={"content-range": None}),
        )
        for asked in WHOLES
    ),
    *(
        after(
            f"14.4 {asked} is nowhere",
            held(
                f"Range: bytes={asked}",
                status=416,
                body=b"",
                gets={"content-range": "bytes */10", "content-length": "0"},
            ),
            held(body=DIGITS),
        )
        for asked in NOWHERE
    ),
    after("14.1 another unit", held("Range: lines=0-1", body=DIGITS)),
    after("14.1 the unit in any case", part(0, 1, "Range: Bytes=0-1")),
    after("14.2 two Ranges", held("Range: bytes=0-1", "Range: bytes=2-3", body=DIGITS)),
    after(
        "14.2 HEAD has none",
        held("Range: bytes=0-1", method="HEAD", gets={"content-length": "10", "content-range": None}),
    ),
    Case(
        "14.2 an error has none",
        (goes(says(FRESH, status=404, body=DIGITS)), held("Range: bytes=0-1", status=404, body=DIGITS)),
    ),
    Case(
        "14.3 what has no bytes",
        (
            goes(says(FRESH, body=b"")),
            held("Range: bytes=0-1", status=416, body=b"", gets={"content-range": "bytes */0"}),
        ),
    ),
    after(
        "13.2.2 a condition comes before Range", held('If-None-Match: "a"', "Range: bytes=0-1", status=304)
    ),
    after("13.2.2 a condition that holds, and Range", part(0, 1, 'If-None-Match: "b"', "Range: bytes=0-1")),
    *(
        after(f"13.1.5 If-Range: {line}", part(0, 1, "Range: bytes=0-1", f"If-Range: {line}"))
        for line in ('"a"', SINCE)
    ),
    *(
        after(f"13.1.5 not If-Range: {line}", held("Range: bytes=0-1", f"If-Range: {line}", body=DIGITS))
        for line in (
            '"b"',
            'W/"a"',
            "Sun, 06 Nov 1994 08:49:38 GMT",
            "Sun, 06 Nov 1994 08:49:36 GMT",
            "x",
            "",
            "*",
        )
    ),
    after("13.1.5 If-Range without Range", held('If-Range: "b"', body=DIGITS)),
    after(
        "13.1.5 If-Range that fails, and what is nowhere",
        held("Range: bytes=99-", 'If-Range: "b"', body=DIGITS),
    ),
    Case(
        "13.1.5 a weak tag never holds",
        (
            goes(says(FRESH, 'ETag: W/"a"', body=DIGITS)),
            held("Range: bytes=0-1", 'If-Range: W/"a"', body=DIGITS),
        ),
    ),
    after(
        "13.1.5 If-Range of a date in another format",
        held("Range: bytes=0-1", "If-Range: Sunday, 06-Nov-94 08:49:37 GMT", body=DIGITS),
    ),
    Case(
        "14 a part where nothing is stored is the origin's, and not stored",
        (
            goes(PART, "Range: bytes=0-1", asked={"range": "bytes=0-1"}),
            goes(PART, "Range: bytes=0-1"),
            goes(WHOLE),
            part(4, 5, "Range: bytes=4-5"),
        ),
    ),
    Case(
        "14 a 416 is not stored",
        (
            goes(says(FRESH, "Content-Range: bytes */10", status=416), "Range: bytes=99-"),
            goes(WHOLE),
            held(body=DIGITS),
        ),
    ),
    after(
        "14 a part of what is stale is asked for as the whole",
        Step(
            says(FRESH, ETAG, status=304),
            ("Range: bytes=0-1",),
            later=61,
            status=206,
            body=b"01",
            asked={"range": None, "if-none-match": '"a"'},
        ),
    ),
    after(
        "14 a part of what is stale, If-Range",
        Step(
            says(FRESH, ETAG, status=304),
            ("Range: bytes=0-1", 'If-Range: "a"'),
            later=61,
            status=206,
            body=b"01",
            asked={"range": None, "if-range": None},
        ),
    ),
    after(
        "14 a part of what is stale, If-Range of another",
        Step(
            says(FRESH, ETAG, status=304),
            ("Range: bytes=0-1", 'If-Range: "b"'),
            later=61,
            status=200,
            body=DIGITS,
        ),
    ),
    after(
        "14 a part of what was changed is the whole",
        goes(ETAG_B, "Range: bytes=0-1", later=61),
        held(body=b"abc"),
    ),
    after(
        "5861 4 a part of what is stale on an error",
        Step(GONE, ("Range: bytes=0-1",), later=61, status=206, body=b"01"),
    ),
    after(
        "14 a part does not end what is stored",
        part(0, 1, "Range: bytes=0-1", later=59),
        confirmed(says(FRESH, ETAG, status=304), body=DIGITS, later=1),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9110_14(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
