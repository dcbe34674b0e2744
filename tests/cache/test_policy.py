"""RFC 9111, sections 3 and 4.2, as tables."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.policy import (
    Answer,
    Terms,
    freshness_lifetime,
    initial_age,
    settle,
    storable_fields,
)
from sipup_middleware.cache.request import AUTHORIZATION, COOKIE

NOW = 784111777.0
DATE = (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")
IN_AN_HOUR = (b"expires", b"Sun, 06 Nov 1994 09:49:37 GMT")
Pairs = Sequence[tuple[bytes, bytes]]


def answer(*headers: tuple[bytes, bytes], status: int = 200) -> Answer:
    return Answer(status, headers)


def control(*lines: bytes, status: int = 200, extra: Pairs = ()) -> Answer:
    return answer(*((b"cache-control", line) for line in lines), *extra, status=status)


def terms(given: Answer, *, flags: int = 0, ruled: float | None = None) -> Terms | str:
    return settle(given, flags, age=0.0, declared=freshness_lifetime(given, NOW), ruled=ruled)


@pytest.mark.parametrize(
    ("headers", "lifetime"),
    [
        ([(b"cache-control", b"max-age=1, s-maxage=9"), IN_AN_HOUR], 9),
        ([(b"cache-control", b"max-age=1"), DATE, IN_AN_HOUR], 1),
        ([DATE, IN_AN_HOUR], 3600),
        ([IN_AN_HOUR], 3600),
        ([(b"cache-control", b"s-maxage=0, max-age=9")], 0),
        ([(b"cache-control", b'max-age="7"')], 7),
        ([(b"cache-control", b"max-age=soon"), DATE, IN_AN_HOUR], 0),
        ([(b"cache-control", b"max-age"), IN_AN_HOUR], 0),
        ([(b"expires", b"0")], 0),
        ([IN_AN_HOUR, (b"expires", b"Sun, 06 Nov 1994 10:49:37 GMT")], 0),
        ([IN_AN_HOUR, IN_AN_HOUR], 3600),
        ([(b"expires", DATE[1]), DATE], 0),
        ([(b"cache-control", b"public")], None),
        ([], None),
    ],
)
def test_4_2_1_lifetime_is_s_maxage_then_max_age_then_expires(headers: Pairs, lifetime: float | None) -> None:
    assert freshness_lifetime(answer(*headers), NOW) == lifetime


@pytest.mark.parametrize(
    ("headers", "age"),
    [
        ([], 0),
        ([(b"age", b"5")], 7),
        ([(b"age", b"5"), (b"age", b"50")], 7),
        ([(b"age", b"5, 50")], 7),
        ([(b"age", b"old")], 0),
        ([(b"age", b"-5")], 0),
        ([(b"age", b"99999999999999")], 2**31 + 2),
        ([DATE], 10),
        ([DATE, (b"age", b"20")], 22),
        ([(b"date", b"Sun, 06 Nov 2094 08:49:37 GMT")], 0),
    ],
)
def test_4_2_3_age_on_arrival_is_the_larger_of_apparent_and_stated(headers: Pairs, age: float) -> None:
    assert initial_age(answer(*headers), NOW + 10, 2.0) == age


@pytest.mark.parametrize("line", [b"no-store", b"private", b"NO-STORE", b"x=1, Private", b"no-cache"])
@pytest.mark.parametrize("declares", [b"max-age=60", b"public, s-maxage=60"])
def test_3_no_store_private_and_no_cache_forbid_in_any_case_and_line(line: bytes, declares: bytes) -> None:
    assert terms(control(declares, line)) == line.split(b",")[-1].strip().lower().decode()


@pytest.mark.parametrize("line", [b'no-cache="set-cookie"', b'private="x-user, x-cart"'])
def test_5_2_2_a_list_of_fields_is_read_as_the_whole(line: bytes) -> None:
    assert isinstance(terms(control(b"max-age=60", line)), str)


def test_5_2_2_3_must_understand_overrides_no_store_for_a_known_status() -> None:
    both = b"max-age=60, no-store, must-understand"

    assert isinstance(terms(control(both)), Terms)
    assert terms(control(both, status=299)) == "status"


@pytest.mark.parametrize("status", [100, 103, 199, 206, 304])
def test_3_interim_partial_and_304_answers_are_not_stored(status: int) -> None:
    assert terms(control(b"max-age=60", status=status)) == "status"


def test_3_a_part_that_calls_itself_200_is_not_stored() -> None:
    assert terms(control(b"max-age=60", extra=[(b"content-range", b"bytes 0-1/9")])) == "status"


@pytest.mark.parametrize("status", [200, 201, 299, 302, 404, 500, 503, 599])
def test_3_explicit_freshness_makes_any_final_status_storable(status: int) -> None:
    assert isinstance(terms(control(b"max-age=60", status=status)), Terms)


@pytest.mark.parametrize(
    ("status", "stored"), [(200, True), (301, True), (201, False), (404, False), (500, False)]
)
def test_a_rule_covers_only_answers_that_stay_true(status: int, *, stored: bool) -> None:
    assert isinstance(terms(answer(status=status), ruled=60.0), Terms) is stored


def test_a_rule_does_not_count_where_the_response_declares() -> None:
    assert terms(control(b"max-age=0"), ruled=60.0) == "stale"
    assert isinstance(found := terms(control(b"max-age=5"), ruled=60.0), Terms)
    assert found.lifetime == 5


@pytest.mark.parametrize("flag", [COOKIE, AUTHORIZATION])
def test_a_rule_does_not_count_for_a_request_with_credentials(flag: int) -> None:
    assert terms(control(b"public"), flags=flag, ruled=60.0) == "undeclared"


def test_what_a_rule_stored_is_not_for_requests_with_credentials() -> None:
    found = terms(answer(), ruled=60.0)

    assert isinstance(found, Terms)
    assert found.refuses == COOKIE | AUTHORIZATION


@pytest.mark.parametrize(
    ("line", "stored"),
    [
        (b"max-age=60", False),
        (b"max-age=60, public", True),
        (b"s-maxage=60", True),
        (b"max-age=60, must-revalidate", True),
        (b"max-age=60, proxy-revalidate", False),
    ],
)
def test_3_5_an_answer_to_credentials_needs_public_s_maxage_or_must_revalidate(
    line: bytes, *, stored: bool
) -> None:
    assert isinstance(terms(control(line), flags=AUTHORIZATION), Terms) is stored


def test_an_answer_that_sets_a_cookie_is_not_stored() -> None:
    assert terms(control(b"public, max-age=60", extra=[(b"Set-Cookie", b"a=b")])) == "set-cookie"


@pytest.mark.parametrize("vary", [[b"*"], [b"accept, *"], [b"accept", b"*"]])
def test_4_1_vary_star_anywhere_is_not_stored(vary: list[bytes]) -> None:
    assert terms(control(b"max-age=60", extra=[(b"vary", line) for line in vary])) == "vary"


def test_an_answer_that_is_older_than_its_lifetime_is_not_stored() -> None:
    assert settle(answer(), 0, age=9.0, declared=9.0, ruled=None) == "stale"


@pytest.mark.parametrize("length", [b"-1", b"many", b"", b"9" * 30])
def test_a_length_that_no_body_can_have_forbids(length: bytes) -> None:
    assert terms(control(b"max-age=60", extra=[(b"content-length", length)])) == "status"


def test_3_1_connection_fields_and_what_concerns_one_client_are_not_kept() -> None:
    headers = [
        (b"Connection", b"close, X-Hop"),
        (b"keep-alive", b"timeout=5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"x-hop", b"1"),
        (b"proxy-authenticate", b"Basic"),
        (b"upgrade", b"h2c"),
        (b"trailer", b"x"),
        (b"te", b"x"),
        (b"age", b"5"),
        (b"RateLimit", b'"a";r=1'),
        (b"ratelimit-policy", b'"a";q=1'),
        (b"x-ratelimit-remaining", b"1"),
        (b"retry-after", b"1"),
        (b"X-Kept", b" as it is "),
        (b"x-kept", b"twice"),
    ]

    assert storable_fields(answer(*headers)) == headers[-2:]


FIELD = st.sampled_from(
    [b"cache-control", b"vary", b"age", b"date", b"expires", b"content-length", b"connection", b"set-cookie"]
)


@given(
    st.lists(st.tuples(FIELD | st.binary(max_size=9), st.binary(max_size=40)), max_size=6),
    st.integers(100, 599),
)
def test_no_header_bytes_raise(headers: list[tuple[bytes, bytes]], status: int) -> None:
    given_answer = Answer(status, headers)

    initial_age(given_answer, NOW, 1.0)
    storable_fields(given_answer)
    terms(given_answer, ruled=5.0)
