"""RFC 9111, section 3: what is stored."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import ETAG, FRESH, Case, Proxied, goes, held, says, stored, unstored

FINAL = (200, 203, 204, 299, 300, 301, 302, 303, 307, 308, 400, 403, 404, 405, 410, 414, 451, 499)
ERRORS = (500, 501, 502, 503, 504, 599)
KNOWN = (200, 204, 301, 404, 500)
NO_CREDENTIALS = "Authorization: Basic QTpC"
LENGTH = "Content-Length: 1"

CASES = [
    *(stored(f"3 a {status} with max-age", FRESH, status=status) for status in FINAL + ERRORS),
    *(stored(f"3 a {status} with Expires", "Expires: {now+60}", status=status) for status in (200, 302, 599)),
    *(unstored(f"3 a {status} that declares nothing", status=status) for status in (200, 302, 404, 500)),
    unstored("3 public alone declares no lifetime", "Cache-Control: public"),
    Case("3 HEAD stores nothing", (goes(says(FRESH, LENGTH), method="HEAD"), goes(says(FRESH)))),
    *(
        Case(
            f"3 {method} stores nothing", (goes(says(FRESH), method=method, content=b"x"), goes(says(FRESH)))
        )
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "MKCOL")
    ),
    Case(
        "3 POST stores nothing, also with Content-Location",
        (goes(says(FRESH, "Content-Location: {path}"), method="POST", content=b"x"), goes(says(FRESH))),
    ),
    *(
        Case(f"3 a fresh answer is not for {method}", (goes(says(FRESH)), goes(says(FRESH), method=method)))
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "MKCOL")
    ),
    Case(
        "3 a fresh answer is for HEAD", (goes(says(FRESH)), held(method="HEAD", gets={"content-length": "1"}))
    ),
    unstored("3.3 a 206 that nobody asked for", FRESH, "Content-Range: bytes 0-0/9", status=206),
    unstored("3.3 a Content-Range on a 200", FRESH, "Content-Range: bytes 0-0/9"),
    unstored("3 a 304 that nobody asked for", FRESH, ETAG, status=304),
    *(
        stored(
            f"5.2.2.3 must-understand, {status}",
            "Cache-Control: must-understand, no-store, max-age=60",
            status=status,
        )
        for status in KNOWN
    ),
    *(
        unstored(
            f"5.2.2.3 must-understand, {status}",
            "Cache-Control: must-understand, no-store, max-age=60",
            status=status,
        )
        for status in (299, 499, 599)
    ),
    *(
        unstored(
            f"5.2.2.3 must-understand alone, {status}",
            "Cache-Control: must-understand, max-age=60",
            status=status,
        )
        for status in (299, 499)
    ),
    Case(
        "3.5 credentials and max-age",
        (goes(says(FRESH), NO_CREDENTIALS), goes(says(FRESH), NO_CREDENTIALS), goes(says(FRESH))),
    ),
    *(
        Case(
            f"3.5 credentials and {line}",
            (goes(says(f"Cache-Control: {line}"), NO_CREDENTIALS), held(NO_CREDENTIALS), held()),
        )
        for line in ("public, max-age=60", "s-maxage=60", "must-revalidate, max-age=60")
    ),
    Case("3.5 an anonymous answer and credentials", (goes(says(FRESH)), goes(says(FRESH), NO_CREDENTIALS))),
    Case("7.3 Set-Cookie", (goes(says(FRESH, "Set-Cookie: a=b")), goes(says(FRESH)))),
    *(
        Case(f"3.1 {name}", (goes(says(FRESH, f"{name}: x")), held(gets={name.lower(): None})))
        for name in ("Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization")
    ),
    Case(
        "3.1 fields that Connection lists",
        (
            goes(says(FRESH, "Connection: x-hop, X-Other", "X-Hop: 1", "x-other: 2", "x-kept: 3")),
            held(gets={"x-hop": None, "x-other": None, "x-kept": "3", "keep-alive": None}),
        ),
    ),
    Case(
        "3.1 every other field, its lines and their order",
        (
            goes(says(FRESH, "X-A: 1", "X-B: b", "X-A: 2", "X-Empty:", 'Content-Type: text/x; q="a, b"')),
            held(gets={"x-a": "1, 2", "x-b": "b", "x-empty": "", "content-type": 'text/x; q="a, b"'}),
        ),
    ),
    Case(
        "3 what a client's no-store asked for",
        (goes(says(FRESH), "Cache-Control: no-store"), goes(says(FRESH))),
    ),
    Case("3 a Cookie in the request", (goes(says(FRESH), "Cookie: a=b"), held("Cookie: c=d"), held())),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9111_3(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
