"""Counting plain limits in one pass says what weighing them one by one says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.ratelimit.backoff import Backoff
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.plain import PlainLimits
from sipup_middleware.ratelimit.policy import Decision, Rule
from sipup_middleware.ratelimit.rules import Keyed
from tests.ratelimit.doubles import Clock, rule

steps = st.tuples(st.sampled_from([0.0, 0.001, 0.4, 1.0, 7.0, 61.0]), st.sampled_from("abc"))
rates = st.tuples(st.integers(1, 6), st.sampled_from([1, 2, 60]))


def by(name: str) -> Any:
    return lambda scope: scope[name]


def limiter_of(*rules: Rule, **options: Any) -> tuple[MemoryLimiter, Clock]:
    clock = Clock()
    return MemoryLimiter(rules, clock=clock, **options), clock


def plain_of(limiter: MemoryLimiter, *pairs: Keyed) -> PlainLimits:
    plain = limiter.plain(pairs)
    assert plain is not None
    return plain


def rules_of(given: list[tuple[tuple[int, int], int]]) -> list[Rule]:
    return [rule(rate, index=n, name=f"r{n}", cost=cost) for n, (rate, cost) in enumerate(given)]


@given(st.lists(st.tuples(rates, st.integers(1, 3)), min_size=1, max_size=3), st.lists(steps, max_size=80))
def test_one_pass_decides_as_weighing_does(
    given_rules: list[tuple[tuple[int, int], int]], asked: list[tuple[float, str]]
) -> None:
    rules = rules_of(given_rules)
    weighing, clock = limiter_of(*rules)
    passing = MemoryLimiter(rules, clock=clock)
    plain = plain_of(passing, *[(each, by("client")) for each in rules])

    for seconds, client in asked:
        clock.now += seconds
        expected = weighing.decide([(each, client) for each in rules])
        assert plain.decide({"client": client}, []) == expected
        assert passing.peek([(each, client) for each in rules]) == weighing.peek(
            [(each, client) for each in rules]
        )


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "y", None])), max_size=40))
def test_keys_of_several_kinds_count_each_their_own(asked: list[tuple[str, str | None]]) -> None:
    first, second, third = rules_of([((4, 60), 1), ((3, 60), 1), ((5, 60), 1)])
    weighing, clock = limiter_of(first, second, third)
    ip, user = by("ip"), by("user")
    plain = plain_of(
        MemoryLimiter([first, second, third], clock=clock), (first, ip), (second, user), (third, ip)
    )

    for address, name in asked:
        asks = [(first, address), *([(second, name)] if name else []), (third, address)]
        assert plain.decide({"ip": address, "user": name}, []) == weighing.decide(asks)


def test_nobody_is_counted_whom_no_key_names() -> None:
    only = rule((1, 60))
    limiter, _ = limiter_of(only)
    names: list[str | None] = []

    assert plain_of(limiter, (only, by("client"))).decide({"client": None}, names) is None
    assert limiter.keys == 0


def test_a_refusal_tells_its_clients_once_until_it_is_over() -> None:
    only = rule((1, 60))
    limiter, clock = limiter_of(only)
    plain = plain_of(limiter, (only, by("client")))
    plain.decide({"client": "a"}, [])
    told: list[list[str | None]] = [[], [], []]

    decisions = [plain.decide({"client": "a"}, names) for names in told[:2]]
    clock.now += 120
    plain.decide({"client": "a"}, [])
    again = plain.decide({"client": "a"}, told[2])

    assert told == [["a"], [], ["a"]]
    assert [each and each.allowed for each in (*decisions, again)] == [False] * 3
    assert plain.asks(["a"]) == [(only, "a")]


def test_a_refusal_that_is_known_still_counts_down() -> None:
    only = rule((1, 60))
    limiter, clock = limiter_of(only)
    plain = plain_of(limiter, (only, by("client")))
    plain.decide({"client": "a"}, [])

    def refused() -> Decision:
        decision = plain.decide({"client": "a"}, [])
        assert decision is not None
        return decision

    first = refused()
    clock.now += 10
    second = refused()

    assert (second.reset, second.reset_at) == (first.reset - 10, first.reset_at)


def test_who_is_counted_anew_is_served_at_once() -> None:
    only = rule((1, 60))
    limiter, _ = limiter_of(only)
    plain = plain_of(limiter, (only, by("client")))
    for _ in range(3):
        plain.decide({"client": "a"}, [])

    limiter.reset(only, "a")
    decision = plain.decide({"client": "a"}, [])

    assert decision is not None
    assert decision.allowed


def test_a_flood_of_refused_clients_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipup_middleware.ratelimit.plain._MOST_REFUSED", 100)
    only = rule((1, 3600))
    limiter, _ = limiter_of(only)
    plain = plain_of(limiter, (only, by("client")))

    for n in range(1000):
        plain.decide({"client": str(n)}, [])
        plain.decide({"client": str(n)}, [])

    ((_, _, _, _, known, *_),) = plain._parts
    assert 0 < len(known) <= 100


@pytest.mark.parametrize(
    "options", [{"strategy": "gcra"}, {"strategy": "fixed"}, {"shadow": True}, {"late": True}]
)
def test_what_takes_more_than_to_count_is_weighed(options: dict[str, Any]) -> None:
    simple, other = rule((5, 60), name="a"), rule((5, 60), name="b", index=1, **options)
    limiter, _ = limiter_of(simple, other)

    assert limiter.plain([(simple, by("client")), (other, by("client"))]) is None


def test_rules_of_one_counter_and_bans_are_weighed() -> None:
    one, other = (rule((5, 60), name=name, index=n, shared="s") for n, name in enumerate("ab"))
    sharing, _ = limiter_of(one, other)
    banning, _ = limiter_of(one, backoff=Backoff())

    assert sharing.plain([(one, by("client")), (other, by("client"))]) is None
    assert banning.plain([(one, by("client"))]) is None
