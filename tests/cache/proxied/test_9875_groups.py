"""RFC 9875: answers that go together."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import ETAG, FRESH, Case, Proxied, Step, confirmed, goes, held, says

GROUPS = "Cache-Groups: "
PURGES = "Cache-Group-Invalidation: "
PAGE = goes(says(FRESH, GROUPS + '"{path}a", "{path}b"'), target="page")
KEPT = held(target="page")
UNCHANGED = says(FRESH, ETAG, status=304)


def change(*lines: str, method: str = "POST", status: int = 200, sends: tuple[str, ...] = ()) -> Step:
    return goes(says(*lines, status=status), *sends, method=method, target="change")


PURGING = ('"{path}a"', '"{path}b"', '"x", "{path}b"', '"{path}a";x=1', '"{path}a" , "y"')
SPARING = ('"x"', '"{path}A"', "{path}a", '"{path}a', '"{path}a", x', "", '"{path}a, {path}b"', "1")

CASES = [
    *(Case(f"3 {text}", (PAGE, change(PURGES + text), PAGE)) for text in PURGING),
    *(Case(f"3 {text!r} changes nothing", (PAGE, change(PURGES + text), KEPT)) for text in SPARING),
    Case("3 on two lines", (PAGE, change(PURGES + '"x"', PURGES + '"{path}b"'), PAGE)),
    Case("3 an error may name groups too", (PAGE, change(PURGES + '"{path}a"', status=500), PAGE)),
    Case("3 not of a safe method", (PAGE, change(PURGES + '"{path}a"', method="OPTIONS"), KEPT)),
    Case("3 not of a GET", (PAGE, change(PURGES + '"{path}a"', method="GET"), KEPT)),
    Case("2.1 not on another host", (PAGE, change(PURGES + '"{path}a"', sends=("Host: other",)), KEPT)),
    Case(
        "2.1 on the same host in any case",
        (PAGE, change(PURGES + '"{path}a"', sends=("Host: CACHE.example",)), PAGE),
    ),
    Case(
        "2 two lines of groups",
        (
            goes(says(FRESH, GROUPS + '"{path}a"', GROUPS + '"{path}b"')),
            change(PURGES + '"{path}b"'),
            goes(says(FRESH)),
        ),
    ),
    Case(
        "2 an escaped name",
        (
            goes(says(FRESH, GROUPS + '"{path}\\"\\\\"')),
            change(PURGES + '"{path}\\"\\\\"'),
            goes(says(FRESH)),
        ),
    ),
    Case(
        "2 what is in none is not concerned",
        (goes(says(FRESH, GROUPS + "a")), change(PURGES + '"a"'), held()),
    ),
    Case("2 it is passed on", (goes(says(FRESH, GROUPS + '"a"')), held(gets={"cache-groups": '"a"'}))),
    Case(
        "2 also after it was confirmed",
        (
            goes(says(FRESH, ETAG, GROUPS + '"{path}a"')),
            confirmed(UNCHANGED, later=61),
            change(PURGES + '"{path}a"'),
            goes(says(FRESH)),
        ),
    ),
    Case(
        "2 groups that a confirmation names",
        (
            goes(says(FRESH, ETAG)),
            confirmed(says(FRESH, ETAG, GROUPS + '"{path}a"', status=304), later=61),
            change(PURGES + '"{path}a"'),
            goes(says(FRESH)),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9875(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
