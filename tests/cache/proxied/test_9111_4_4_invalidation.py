"""RFC 9111, section 4.4: what a successful unsafe request makes doubtful."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import ETAG, FRESH, GONE, Case, Proxied, Step, goes, held, says

PAGE = goes(says(FRESH))
OTHER = goes(says(FRESH), target="other")
UNSAFE = ("POST", "PUT", "PATCH", "DELETE", "MKCOL", "LINK")
LINKS = (
    "Location: {path}other",
    "Content-Location: {path}other",
    "Location: other",
    "Location: ./other",
    "Location: x/../other",
    "Location: http://cache.example{path}other",
    "Location: http://CACHE.example:80{path}other",
    "Location: //cache.example{path}other",
    "Location: {path}other#there",
    "content-location: other",
)
ELSEWHERE = (
    "Location: http://other.example{path}other",
    "Location: https://cache.example{path}other",
    "Location: http://cache.example:8080{path}other",
    "Content-Location: //other.example{path}other",
    "Link: <{path}other>",
    "Location: http://[",
    "Location:",
)


def change(*lines: str, status: int = 200, method: str = "POST", **more: str) -> Step:
    body = b"x" if method in {"POST", "PUT", "PATCH"} else b""
    return goes(says(*lines, status=status), method=method, content=body, **more)


CASES = [
    *(Case(f"4.4 {method}", (PAGE, change(method=method), PAGE)) for method in UNSAFE),
    *(
        Case(f"4.4 {status} to a POST", (PAGE, change(status=status), PAGE))
        for status in (200, 201, 202, 204, 299, 301, 303)
    ),
    *(
        Case(f"4.4 {status} to a POST changes nothing", (PAGE, change(status=status), held()))
        for status in (400, 403, 404, 409, 412, 500, 503)
    ),
    *(
        Case(f"4.4 {method} changes nothing", (PAGE, change(method=method), held()))
        for method in ("OPTIONS",)
    ),
    Case(
        "4.4 no answer changes nothing",
        (PAGE, Step(GONE, method="POST", content=b"x", status=502, body=b""), held()),
    ),
    *(Case(f"4.4 {line}", (OTHER, change(line), OTHER)) for line in LINKS),
    *(Case(f"4.4 {line} changes nothing", (OTHER, change(line), held(target="other"))) for line in ELSEWHERE),
    Case(
        "4.4 a link of an error changes nothing",
        (OTHER, change("Location: other", status=400), held(target="other")),
    ),
    Case("4.4 both links", (OTHER, change("Location: x", "Content-Location: other"), OTHER)),
    Case(
        "4.4 with a query",
        (goes(says(FRESH), target="?a=1"), change(target="?a=1"), goes(says(FRESH), target="?a=1")),
    ),
    Case("4.4 what is not named stays", (OTHER, change(), held(target="other"))),
    Case("4.4 what is below stays", (OTHER, PAGE, change(method="DELETE"), held(target="other"))),
    Case(
        "4.4 every variant",
        (
            goes(says(FRESH, "Vary: X-A"), "X-A: 1"),
            goes(says(FRESH, "Vary: X-A"), "X-A: 2"),
            change(),
            goes(says(FRESH, "Vary: X-A"), "X-A: 1"),
            goes(says(FRESH, "Vary: X-A"), "X-A: 2"),
        ),
    ),
    Case(
        "4.4 what is stale too: it is not asked about, nor sent on an error",
        (
            goes(says(FRESH, ETAG)),
            change(),
            Step(says(status=503), later=61, asked={"if-none-match": None}),
        ),
    ),
    Case("4.4 it may be stored again", (PAGE, change(), PAGE, held(body=b"3"))),
    Case("4.4 the target in absolute form", (PAGE, change(target="http://cache.example{path}"), PAGE)),
    Case(
        "4.4 what was asked for in absolute form",
        (
            goes(says(FRESH), target="http://cache.example{path}"),
            change(),
            goes(says(FRESH), target="http://cache.example{path}"),
        ),
    ),
    Case(
        "4.4 a path with an escaped letter",
        (goes(says(FRESH), target="%61"), change(target="%61"), goes(says(FRESH), target="%61")),
    ),
    Case(
        "4.4 a path that names a host",
        (goes(says(FRESH), target="//evil"), change(target="//evil"), goes(says(FRESH), target="//evil")),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9111_4_4(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
