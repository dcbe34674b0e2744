"""RFC 9111, sections 3.2 and 4.3.4: what a 304 makes of a stored answer."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import ETAG, FRESH, Case, Proxied, Step, confirmed, goes, held, says

WEAK = 'ETag: W/"a"'
CHANGED = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"
TYPE = "Content-Type: text/plain"
UNCHANGED = says(FRESH, ETAG, status=304)
NEWER = says(FRESH, 'ETag: "b"')


def renewed(*lines: str, status: int = 304, **more: str | None) -> tuple[Step, Step]:
    """A confirmation with these lines, and fields that it and the next hit must have."""
    gets = {name.replace("_", "-"): value for name, value in more.items()}
    return (
        confirmed(says(*lines, status=status), later=61, gets=gets),
        held(gets=gets),
    )


CASES = [
    Case("3.2 a field that it adds", (goes(says(FRESH, ETAG)), *renewed(FRESH, ETAG, "X-A: 1", x_a="1"))),
    Case(
        "3.2 a field that it renews",
        (goes(says(FRESH, ETAG, "X-A: 1")), *renewed(FRESH, ETAG, "x-a: 2", x_a="2")),
    ),
    Case(
        "3.2 a field of several lines that it renews",
        (goes(says(FRESH, ETAG, "X-A: 1", "X-A: 2")), *renewed(FRESH, ETAG, "X-A: 3", "X-A: 4", x_a="3, 4")),
    ),
    Case(
        "3.2 a field that it does not name",
        (goes(says(FRESH, ETAG, "X-A: 1")), *renewed(FRESH, ETAG, x_a="1")),
    ),
    Case(
        "3.2 what belongs to the body stays",
        (
            goes(says(FRESH, ETAG, TYPE, "Content-Encoding: x")),
            *renewed(
                FRESH,
                ETAG,
                "Content-Length: 99",
                "Content-Encoding: gzip",
                content_length="1",
                content_encoding="x",
                content_type="text/plain",
            ),
        ),
    ),
    Case(
        "3.2 Expires",
        (
            goes(says("Expires: {now+60}", ETAG)),
            confirmed(says("Expires: {now+600}", ETAG, status=304), later=61),
            held(later=599),
            goes(NEWER, later=1),
        ),
    ),
    Case(
        "3.2 a longer Cache-Control",
        (
            goes(says(FRESH, ETAG)),
            confirmed(says("Cache-Control: max-age=600", ETAG, status=304), later=61),
            held(later=599, gets={"cache-control": "max-age=600", "age": "599"}),
            goes(NEWER, later=1),
        ),
    ),
    Case(
        "3.2 a shorter Cache-Control",
        (
            goes(says(FRESH, ETAG)),
            confirmed(says("Cache-Control: max-age=6", ETAG, status=304), later=61),
            confirmed(UNCHANGED, later=6),
        ),
    ),
    Case(
        "4.3.4 a 304 that says nothing renews the age",
        (
            goes(says(FRESH, ETAG)),
            confirmed(says(status=304), later=61, gets={"age": "0", "cache-control": "max-age=60"}),
            held(later=59, gets={"age": "59"}),
            confirmed(UNCHANGED, later=1),
        ),
    ),
    Case(
        "4.3.4 a 304 without a Date is of now",
        (
            goes(says(FRESH, ETAG)),
            confirmed(says(status=304, date=False), later=61, gets={"age": "0", "date": None}),
            held(later=59, gets={"age": "59"}),
            confirmed(UNCHANGED, later=1),
        ),
    ),
    Case(
        "4.3.4 a 304 that says no-store is used once",
        (
            goes(says(FRESH, ETAG)),
            confirmed(says("Cache-Control: no-store", ETAG, status=304), later=61),
            goes(NEWER),
        ),
    ),
    Case(
        "4.3.4 a 304 that says private is used once",
        (
            goes(says(FRESH, ETAG)),
            confirmed(says("Cache-Control: private", ETAG, status=304), later=61),
            goes(NEWER),
        ),
    ),
    Case(
        "4.3.4 the age of a 304 from another cache",
        (
            goes(says(FRESH, ETAG)),
            confirmed(says(FRESH, ETAG, "Age: 20", status=304), later=61, gets={"age": "20"}),
            held(later=39, gets={"age": "59"}),
            confirmed(UNCHANGED, later=1),
        ),
    ),
    Case(
        "4.3.4 the 304's Date counts",
        (
            goes(says(FRESH, ETAG, "Date: {now}")),
            confirmed(says(FRESH, ETAG, "Date: {now-20}", status=304), later=100, gets={"age": "20"}),
            held(later=39),
            confirmed(UNCHANGED, later=1),
        ),
    ),
    *(
        Case(
            f"4.3.4 {' '.join(first)} and a 304 about {line}: asked again without a condition",
            (
                goes(says(FRESH, *first)),
                Step(says(FRESH, line, status=304), later=61, status=304, times=2),
            ),
        )
        for first, line in (
            ((ETAG,), 'ETag: "b"'),
            ((WEAK,), 'ETag: W/"b"'),
            ((ETAG, CHANGED), 'ETag: W/"b"'),
            ((CHANGED,), "Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT"),
        )
    ),
    Case(
        "4.3.4 a weak tag confirms a strong one",
        (
            goes(says(FRESH, ETAG)),
            confirmed(says(FRESH, WEAK, status=304), later=61),
            held(),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9111_4_3_4(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
