"""RFC 9111, sections 3 and 4.2, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.answer import Answer, Kinds, storable_fields
from sipup_middleware.cache.freshness import freshness_lifetime, initial_age
from sipup_middleware.cache.policy import House, Said, Terms, settle
from sipup_middleware.cache.request import AUTHORIZATION, COOKIE, QUERY

NOW = 784111777.0
DATE = (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")
IN_AN_HOUR = (b"expires", b"Sun, 06 Nov 1994 09:49:37 GMT")
Pairs = Sequence[tuple[bytes, bytes]]


def answer(*headers: tuple[bytes, bytes], status: int = 200) -> Answer:
    return Answer(status, headers)


def control(*lines: bytes, status: int = 200, extra: Pairs = ()) -> Answer:
    return answer(*((b"cache-control", line) for line in lines), *extra, status=status)


def terms(
    given: Answer, *, flags: int = 0, ruled: float | None = None, age: float = 0.0, **house: Any
) -> Terms | str:
    return settle(given, flags, Said(ruled=ruled), House(**house), now=NOW, age=age)


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


def test_4_2_3_a_date_tells_no_parts_of_a_second() -> None:
    assert initial_age(answer(DATE), NOW + 0.9, 0.0) == 0
    assert initial_age(answer(DATE), NOW + 2.1, 0.0) == 2


@pytest.mark.parametrize("line", [b"no-store", b"private", b"NO-STORE", b"x=1, Private"])
@pytest.mark.parametrize("declares", [b"max-age=60", b"public, s-maxage=60"])
def test_3_no_store_and_private_forbid_in_any_case_and_line(line: bytes, declares: bytes) -> None:
    assert terms(control(declares, line)) == line.split(b",")[-1].strip().lower().decode()


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([b'no-cache="x-a"'], [b"x-b", b"x-c"]),
        ([b'private="x-a, X-B"'], [b"x-c"]),
        ([b'private="x-a"', b'no-cache="x-b"', b'private="x-c"'], []),
        ([b"no-cache=x-a"], [b"x-b", b"x-c"]),
    ],
)
def test_5_2_2_4_and_7_the_fields_that_are_listed_are_not_kept_and_the_rest_is(
    lines: list[bytes], kept: list[bytes]
) -> None:
    given = control(b"max-age=60", *lines, extra=[(b"x-a", b"1"), (b"x-b", b"2"), (b"X-C", b"3")])

    assert isinstance(found := terms(given), Terms)
    assert found.lifetime == 60
    assert [name.lower() for name, _ in storable_fields(given) if name != b"cache-control"] == kept


@pytest.mark.parametrize("lines", [[b"private", b'private="a"'], [b'private="a", private'], [b'private=""']])
def test_5_2_2_7_without_a_list_the_whole_is_meant_whatever_else_is_said(lines: list[bytes]) -> None:
    assert terms(control(b"max-age=60", *lines)) == "private"


@pytest.mark.parametrize("line", [b'private="set-cookie"', b'no-cache="Set-Cookie"'])
def test_5_2_2_a_cookie_that_is_listed_does_not_forbid_to_store_the_rest(line: bytes) -> None:
    given = control(b"max-age=60", line, extra=[(b"set-cookie", b"a=b")])

    assert isinstance(terms(given), Terms)
    assert b"set-cookie" not in dict(storable_fields(given))


def test_an_answer_that_sets_a_cookie_is_stored_where_the_house_says_so() -> None:
    given = control(b"max-age=60", extra=[(b"set-cookie", b"a=b")])

    assert isinstance(terms(given, store_set_cookie=True), Terms)


@pytest.mark.parametrize(
    ("line", "lifetime"), [(b"no-cache", 0), (b"max-age=0", 0), (b"no-cache, max-age=9", 0)]
)
def test_5_2_2_4_what_must_be_confirmed_is_kept_where_it_can_be(line: bytes, lifetime: float) -> None:
    found = terms(control(line, extra=[(b"etag", b'"a"')]))

    assert isinstance(found, Terms)
    assert (found.lifetime, found.until) == (lifetime, 60)
    assert terms(control(line)) == "stale"


@pytest.mark.parametrize(("lifetime", "until"), [(5, 65), (60, 120), (3600, 7200), (10**6, 10**6 + 86400)])
@pytest.mark.parametrize("validator", [(b"etag", b'"a"'), (b"last-modified", DATE[1])])
def test_4_3_an_answer_with_a_validator_is_kept_to_be_confirmed(
    lifetime: int, until: float, validator: tuple[bytes, bytes]
) -> None:
    found = terms(control(b"max-age=%d" % lifetime, extra=[validator]))

    assert isinstance(found, Terms)
    assert found.until == until


@pytest.mark.parametrize(
    ("line", "swr", "sie"),
    [
        (b"max-age=60", 0, 7),
        (b"max-age=60, stale-while-revalidate=5, stale-if-error=9", 5, 9),
        (b"max-age=60, stale-if-error=0", 0, 0),
        (b"max-age=0, stale-if-error=9", 0, 9),
        (b"max-age=60, stale-while-revalidate=x", 0, 7),
        (b"max-age=60, must-revalidate, stale-while-revalidate=5, stale-if-error=9", 0, 0),
        (b"max-age=60, proxy-revalidate, stale-if-error=9", 0, 0),
        (b"s-maxage=60, stale-while-revalidate=5, stale-if-error=9", 0, 0),
    ],
)
def test_4_2_4_and_5861_the_windows_are_the_answer_s_then_the_house_s_unless_it_forbids(
    line: bytes, swr: float, sie: float
) -> None:
    found = terms(control(line), stale_if_error=7.0)

    assert isinstance(found, Terms)
    assert (found.swr, found.sie, found.until) == (swr, sie, found.lifetime + max(swr, sie))


def test_5861_4_the_house_s_window_is_not_for_what_was_never_fresh() -> None:
    assert terms(control(b"max-age=0"), stale_if_error=7.0) == "stale"
    assert terms(control(b"max-age=9"), stale_if_error=7.0, age=9.0) == "stale"


LONG_AGO = (b"last-modified", b"Fri, 28 Oct 1994 08:49:37 GMT")


@pytest.mark.parametrize(
    ("given", "flags", "lifetime"),
    [
        (answer((b"last-modified", b"Sun, 06 Nov 1994 07:49:37 GMT"), DATE), 0, 360),
        (answer(LONG_AGO, DATE), 0, 77760),
        (answer((b"last-modified", b"Fri, 28 Oct 1984 08:49:37 GMT"), DATE), 0, 86400),
        (answer(LONG_AGO), 0, 77760),
        (answer(LONG_AGO, DATE, status=404), 0, 77760),
        (answer(LONG_AGO, DATE, status=201), 0, None),
        (control(b"public", extra=[LONG_AGO, DATE], status=201), 0, 77760),
        (answer(LONG_AGO, DATE), QUERY, None),
        (control(b"public", extra=[LONG_AGO, DATE]), QUERY, 77760),
        (answer(LONG_AGO, DATE), COOKIE, None),
        (answer((b"last-modified", b"yesterday"), DATE), 0, None),
        (answer((b"last-modified", b"Mon, 07 Nov 1994 08:49:37 GMT"), DATE), 0, None),
        (control(b"max-age=5", extra=[LONG_AGO, DATE]), 0, 5),
    ],
)
def test_4_2_2_a_guess_is_a_share_of_the_time_since_the_last_change(
    given: Answer, flags: int, lifetime: float | None
) -> None:
    found = terms(given, flags=flags, heuristic=0.1)

    assert (round(found.lifetime) if isinstance(found, Terms) else None) == lifetime


def test_4_2_2_nothing_is_guessed_by_default_and_a_rule_comes_first() -> None:
    assert terms(answer(LONG_AGO, DATE)) == "undeclared"
    assert isinstance(found := terms(answer(LONG_AGO, DATE), ruled=5.0, heuristic=0.1), Terms)
    assert found.lifetime == 5


KINDS = Kinds(b"sipup-cache-control")


@pytest.mark.parametrize(
    ("target", "lifetime"),
    [
        (b"max-age=9", 9),
        (b"max-age=9, s-maxage=7", 7),
        (b"max-age=9;", 60),
        (b"", 60),
    ],
)
def test_9213_2_2_the_targeted_field_counts_alone_where_it_is_valid(target: bytes, lifetime: float) -> None:
    headers = [
        (b"Sipup-Cache-Control", target),
        (b"cache-control", b"private, max-age=60"),
        (b"cache-control", b"max-age=60"),
        IN_AN_HOUR,
    ]
    given = Answer(200, headers, KINDS)

    assert freshness_lifetime(given, NOW) == lifetime
    assert isinstance(terms(given), Terms) is (lifetime != 60)
    assert b"Sipup-Cache-Control" not in dict(storable_fields(given))


def test_9213_2_1_a_directive_of_another_type_counts_as_absent() -> None:
    given = Answer(200, [(b"sipup-cache-control", b"max-age=soon"), (b"cache-control", b"max-age=60")], KINDS)

    assert terms(given) == "undeclared"


def test_9213_2_2_expires_does_not_count_beside_a_targeted_field() -> None:
    given = Answer(200, [(b"sipup-cache-control", b"public"), IN_AN_HOUR], KINDS)

    assert freshness_lifetime(given, NOW) is None


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
    assert terms(control(b"max-age=9"), age=9.0) == "stale"


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
    terms(given_answer, ruled=5.0, heuristic=0.1, stale_if_error=5.0)
