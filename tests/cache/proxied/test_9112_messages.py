"""RFC 9111, section 3.3, RFC 9110, sections 6 to 9 and 15.2, RFC 9112: framing, interim answers, HEAD."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import ETAG, FRESH, GONE, Case, Proxied, Step, goes, held, says

HELLO = b"hello"
LONG = b"0123456789abcdef" * 20_000
LENGTH = {"content-length": "5", "transfer-encoding": None}
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nCache-Control: no-store\r\n\r\n"

CASES = [
    Case("9112 6 chunked", (goes(says(FRESH, body=HELLO, framing="chunked")), held(body=HELLO, gets=LENGTH))),
    Case(
        "9112 6 to the end of the connection",
        (goes(says(FRESH, body=HELLO, framing="close")), held(body=HELLO, gets=LENGTH)),
    ),
    Case("9112 6 a declared length", (goes(says(FRESH, body=HELLO)), held(body=HELLO, gets=LENGTH))),
    Case("9112 6 nothing", (goes(says(FRESH, body=b"")), held(body=b"", gets={"content-length": "0"}))),
    Case("9112 6 a long one", (goes(says(FRESH, body=LONG)), held(body=LONG))),
    Case("9112 6 a long one in chunks", (goes(says(FRESH, body=LONG, framing="chunked")), held(body=LONG))),
    Case(
        "9112 6 one that is too long to store",
        (goes(says(FRESH, body=LONG * 8)), goes(says(FRESH, body=HELLO))),
    ),
    *(
        Case(
            f"9111 3.3 {framing} that lacks {cut} bytes",
            (
                Step(says(FRESH, body=HELLO, framing=framing, cut=cut), whole=False),
                goes(says(FRESH)),
                held(body=b"2"),
            ),
        )
        for framing, cut in (("length", 2), ("chunked", 5), ("chunked", 9))
    ),
    Case(
        "9111 3.3 a head that breaks off", (Step(says(FRESH, cut=5), status=502, body=b""), goes(says(FRESH)))
    ),
    Case("9111 3.3 no answer", (Step(GONE, status=502, body=b""), goes(says(FRESH)))),
    Case(
        "9112 5.2 a folded line", (Step(says(FRESH, "X-A: 1\r\n 2"), status=502, body=b""), goes(says(FRESH)))
    ),
    Case(
        "15.2 an interim answer is not the answer",
        (goes(says(FRESH, before=EARLY), gets={"link": None}), held(gets={"link": None})),
    ),
    Case("15.2 two of them", (goes(says(FRESH, before=EARLY * 2)), held())),
    Case(
        "6.5 trailers are not fields",
        (goes(says(FRESH, framing="chunked", after=b"X-Sum: 1\r\n")), held(gets={"x-sum": None})),
    ),
    Case(
        "9.3.2 HEAD from a stored GET",
        (
            goes(says(FRESH, ETAG, "X-A: 1", body=HELLO)),
            held(method="HEAD", gets={"content-length": "5", "x-a": "1", "etag": '"a"'}),
        ),
    ),
    Case(
        "9.3.2 HEAD from a stored GET in chunks",
        (
            goes(says(FRESH, body=HELLO, framing="chunked")),
            held(method="HEAD", gets={"content-length": "5"}),
        ),
    ),
    Case(
        "9.3.2 HEAD that nothing is stored for",
        (
            goes(says(FRESH, "Content-Length: 5"), method="HEAD", gets={"content-length": "5"}),
            goes(says(FRESH)),
            held(method="HEAD"),
        ),
    ),
    Case("9.3.2 HEAD of an error", (goes(says(FRESH, status=404)), held(method="HEAD", status=404))),
    Case(
        "15.3.5 a 204 has no length",
        (goes(says(FRESH, status=204)), held(status=204, gets={"content-length": None})),
    ),
    Case("9.3.1 a GET with content", (goes(says(FRESH)), goes(says(FRESH), content=b"x"), held())),
    Case("9.3.1 a GET with a length of nothing", (goes(says(FRESH)), held("Content-Length: 0"))),
    *(
        Case(f"7.6.1 the client's {line}", (goes(says(FRESH), line), held()))
        for line in (
            "TE: trailers",
            "Keep-Alive: 5",
            "Accept: */*",
            "Via: 1.1 x",
            "Expect:",
            "Max-Forwards: 5",
            "Trailer: X",
        )
    ),
    Case(
        "8.6 bytes of every kind",
        (
            goes(says(FRESH, "X-A: \xe4\xff", body=bytes(range(256)))),
            held(body=bytes(range(256)), gets={"x-a": "\xe4\xff"}),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9112(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
