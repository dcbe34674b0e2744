"""RFC 9111, section 4.2, for any dates and ages: read strictly, never negative, never more than can be."""

from __future__ import annotations

from time import gmtime, strftime

from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.answer import Answer
from sipup_middleware.cache.dates import parse_date
from sipup_middleware.cache.freshness import freshness_lifetime, heuristic_lifetime, initial_age

MOST = 1 << 31
FORMS = ["%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
moments = st.integers(0, 253_402_300_799)
nows = st.floats(0, 253_402_300_799)


def date_of(moment: int, form: str = FORMS[0]) -> bytes:
    return strftime(form, gmtime(moment)).encode()


def answer(*headers: tuple[bytes, bytes]) -> Answer:
    return Answer(200, headers)


@given(moments, st.sampled_from(FORMS))
def test_9110_5_6_7_every_date_is_read_as_it_was_written(moment: int, form: str) -> None:
    assert parse_date(date_of(moment, form)) == moment


@given(st.integers(0, 10**40), nows, st.floats(0, 100))
def test_4_2_3_a_stated_age_counts_up_to_2_31_and_grows_by_the_way_here(
    age: int, now: float, delay: float
) -> None:
    assert initial_age(answer((b"age", b"%d" % age)), now, delay) == min(age, MOST) + delay


@given(moments, nows, st.integers(0, MOST), st.floats(0, 100))
def test_4_2_3_the_older_of_both_ages_counts(sent: int, now: float, age: int, delay: float) -> None:
    dated, stated = (b"date", date_of(sent)), (b"age", b"%d" % age)

    both = initial_age(answer(dated, stated), now, delay)

    assert both == max(initial_age(answer(dated), now, delay), initial_age(answer(stated), now, delay))
    assert both >= 0


@given(moments, moments, nows)
def test_4_2_1_expires_counts_from_date_whatever_our_clock_says(sent: int, expires: int, now: float) -> None:
    dated = answer((b"date", date_of(sent)), (b"expires", date_of(expires)))

    assert freshness_lifetime(dated, now) == max(0, expires - sent)


@given(moments, nows, st.floats(0.01, 1))
def test_4_2_2_a_guess_is_never_negative_and_at_most_a_day(changed: int, now: float, share: float) -> None:
    guess = heuristic_lifetime(
        answer((b"last-modified", date_of(changed))), now, share=share, has_query=False
    )

    assert guess is not None
    assert 0 <= guess <= 86_400
