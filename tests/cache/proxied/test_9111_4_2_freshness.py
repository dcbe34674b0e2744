"""RFC 9111, sections 4.2 and 5.1: how long, and how old."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import FRESH, Case, Proxied, goes, held, says, stored, unstored

HOUR = "Cache-Control: max-age=3600"
NOT_DATES = (
    "0",
    "-1",
    "",
    "now",
    "Thu, 18 Aug 2050 02:01:18",
    "Thu, 18 Aug 2050 02:01:18 EST",
    "Thu, 18 Aug 2050 02:01:18 +0100",
    "Thu, 18 Aug 2050 2:01:18 GMT",
    "Thu, 18-Aug-2050 02:01:18 GMT",
    "Thu, 18 Aug 50 02:01:18 GMT",
    "Thu 18 Aug 2050 02:01:18 GMT",
    "18 Aug 2050 02:01:18 GMT",
    "2050-08-18T02:01:18Z",
    "2544660078",
)
DATES = (
    "Thu, 18 Aug 2050 02:01:18 GMT",
    "thu, 18 AUG 2050 02:01:18 gmt",
    "Thursday, 18-Aug-50 02:01:18 GMT",
    "Thu Aug 18 02:01:18 2050",
)
STATED = (
    ("30", 30),
    ("0", 0),
    ("0030", 30),
    ("30, 5", 30),
    ("abc", 0),
    ("-5", 0),
    ("1.5", 0),
    ('"30"', 0),
    ("", 0),
    ("30;x=1", 0),
)


def boundary(name: str, *lines: str, at: int, age: int = 0, **more: bool) -> Case:
    """An answer that is fresh until *at* seconds from now, and not at that moment."""
    reply = says(*lines, **more)
    return Case(
        name,
        (goes(reply), held(later=at - 1, gets={"age": str(age + at - 1)}), goes(reply, later=1)),
    )


CASES = [
    boundary("4.2.1 max-age", FRESH, at=60),
    boundary("4.2.1 s-maxage before max-age", "Cache-Control: max-age=5, s-maxage=60", at=60),
    boundary("4.2.1 s-maxage before a longer max-age", "Cache-Control: s-maxage=60, max-age=500", at=60),
    boundary("4.2.1 s-maxage before Expires", "Cache-Control: s-maxage=60", "Expires: {now-9}", at=60),
    boundary("4.2.1 max-age before Expires", FRESH, "Expires: {now-9}", at=60),
    boundary("4.2.1 max-age before a later Expires", FRESH, "Expires: {now+900}", at=60),
    boundary("4.2.1 max-age before Expires: 0", FRESH, "Expires: 0", at=60),
    boundary("4.2.1 Expires less Date", "Expires: {now+60}", at=60),
    boundary("4.2.1 Expires without Date", "Expires: {now+60}", at=60, date=False),
    boundary("4.2.1 Expires and a Date that is none", "Expires: {now+60}", "Date: x", at=60),
    boundary("4.2.1 Expires by the origin's clock", "Expires: {now+1060}", "Date: {now+1000}", at=60),
    boundary("4.2.1 Expires twice alike", "Expires: {now+60}", "Expires: {now+60}", at=60),
    unstored("4.2.1 Expires, two of them", "Expires: {now+60}", "Expires: {now+90}"),
    unstored("4.2.1 Expires past", "Expires: {now-60}"),
    unstored("4.2.1 Expires at once", "Expires: {now}"),
    unstored("4.2.1 Expires at the origin's moment", "Expires: {now+60}", "Date: {now+60}"),
    unstored("4.2.1 s-maxage=0 before max-age", "Cache-Control: max-age=60, s-maxage=0"),
    unstored("4.2.1 max-age=0 before Expires", "Cache-Control: max-age=0", "Expires: {now+60}"),
    *(unstored(f"5.3 Expires: {text}", f"Expires: {text}") for text in NOT_DATES),
    *(stored(f"5.3 Expires: {text}", f"Expires: {text}", later=3600) for text in DATES),
    stored("4.2.1 a lifetime beyond 2**31", "Cache-Control: max-age=99999999999999999999999", later=1e6),
    *(boundary(f"5.1 Age: {text}", FRESH, f"Age: {text}", at=60 - age, age=age) for text, age in STATED),
    boundary("5.1 the first line of Age", FRESH, "Age: 20", "Age: 40", at=40, age=20),
    boundary("4.2.3 the Date tells an age", FRESH, "Date: {now-20}", at=40, age=20),
    boundary("4.2.3 the greater of Age and Date", FRESH, "Date: {now-20}", "Age: 10", at=40, age=20),
    boundary("4.2.3 the greater of Date and Age", FRESH, "Date: {now-10}", "Age: 20", at=40, age=20),
    boundary("4.2.3 a Date ahead", FRESH, "Date: {now+500}", at=60),
    boundary("4.2.3 no Date, but an Age", FRESH, "Age: 20", at=40, age=20, date=False),
    Case(
        "4.2.3 a Date tells no parts of a second",
        (goes(says("Cache-Control: max-age=1"), later=0.5), held(later=0.5), goes(says(FRESH), later=1)),
    ),
    unstored("5.1 Age as old as the lifetime", FRESH, "Age: 60"),
    unstored("5.1 Age beyond 2**31", "Cache-Control: max-age=2147483648", "Age: 99999999999999999999"),
    unstored("4.2.3 a Date that is older than the lifetime", FRESH, "Date: {now-60}"),
    Case(
        "5.1 what another cache stated is told once, and grows",
        (goes(says(HOUR, "Age: 100"), gets={"age": "100"}), held(later=20, gets={"age": "120"})),
    ),
    Case(
        "5.1 an answer just made has an age of 0",
        (goes(says(HOUR), gets={"age": None}), held(gets={"age": "0"})),
    ),
    Case(
        "4 Date and Expires stay as they were sent",
        (
            goes(says("Expires: Thu, 18 Aug 2050 02:01:18 GMT", "Date: Mon, 21 Sep 2026 14:13:20 GMT")),
            held(
                later=10,
                gets={"date": "Mon, 21 Sep 2026 14:13:20 GMT", "expires": "Thu, 18 Aug 2050 02:01:18 GMT"},
            ),
        ),
    ),
    unstored("4.2.2 no guess by Last-Modified unless asked to", "Last-Modified: {now-99999}"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9111_4_2(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
