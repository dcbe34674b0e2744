"""What follows from what was counted: pure functions of plain values, in whole milliseconds.

A sliding window counter: the requests of the last period are estimated as those of the current aligned window
and the part of the previous one that the period still reaches into. GCRA: each unit is owed for its share of
the period, and ``burst`` of them are lent. A fixed window needs no arithmetic, and a moving one knows every
request: see `counters`. `scripts` says the same in Lua, and one suite of tests holds both to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

__all__ = (
    "UNAVAILABLE",
    "Decision",
    "Rule",
    "Strategy",
    "admission",
    "faded",
    "made",
    "owed",
    "refusal",
    "until_drained",
    "until_paid",
    "wait",
)

Strategy = Literal["sliding", "fixed", "gcra", "moving"]

_ENDINGS = {"sliding": "", "fixed": ":f", "gcra": ":g", "moving": ":m"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A limit as the limiters see it."""

    index: int
    name: str
    amount: int
    period: int
    """Milliseconds, of whole seconds. `Limit` bounds it, and the amount, to what Lua reckons with exactly."""

    cost: int = 1
    """Units that one request takes: all there are, if it asks for more."""

    who: str = ""
    """What its key is called: rules of one *who* count the same kind of client, which is banned from all."""

    strategy: Strategy = "sliding"
    burst: int = 0
    """The most units at once, for gcra; 0 = the amount."""

    shadow: bool = False
    """Refuses nothing; `Decision.shadowed` names it where it would have."""

    late: bool = False
    """Looked at before the app is asked, counted by ``count`` when it has answered."""

    shared: str = ""
    """Whose counter it counts on, "" = its own: a request that meets two rules of one counter counts once."""

    counter: str = field(init=False, repr=False, compare=False)
    """What tells its counter from others, in this process and on a server."""

    plain: bool = field(init=False, repr=False, compare=False)
    """Whether it takes no more than a look and a count."""

    most: int = field(init=False, repr=False, compare=False)
    """Units that a client who has asked for nothing can have at once."""

    def __post_init__(self) -> None:
        most = self.burst if self.burst and self.strategy == "gcra" else self.amount
        counter = f"{self.shared or self.name}:{self.period // 1000}{_ENDINGS[self.strategy]}"
        plain = self.strategy == "sliding" and not self.shadow and not self.late
        object.__setattr__(self, "cost", min(self.cost, most))
        object.__setattr__(self, "most", most)
        object.__setattr__(self, "counter", counter)
        object.__setattr__(self, "plain", plain)


class Decision(NamedTuple):
    """The answer to one request, by the rule that leaves the least, or that refuses the longest."""

    allowed: bool
    rule: str
    """The rule's name; "" where only shadow rules were asked."""

    remaining: int
    """Units left; 0 where refused."""

    reset: int
    """Whole seconds: until the rule's units are back or, where refused, until the same request is served."""

    reset_at: int
    """The same as seconds since 1970."""

    banned: bool = False
    """Refused for having been refused too often."""

    shadowed: tuple[str, ...] = ()
    """Names of the shadow rules that would have refused."""


made = tuple.__new__
"""Makes a NamedTuple of its type and its values, in a third of the time that its keywords take."""

UNAVAILABLE = Decision(allowed=False, rule="", remaining=0, reset=1, reset_at=0)
"""Nobody can count, and uncounted requests are not wanted."""


def admission(rule: str, left: int, resets: int, now: int, shadowed: tuple[str, ...] = ()) -> Decision:
    """Return the decision to serve; *resets* is how long until the rule's units are back."""
    return made(Decision, (True, rule, left, -(-resets // 1000), -(-(now + resets) // 1000), False, shadowed))


def refusal(
    rule: str, wait: int, now: int, *, banned: bool = False, shadowed: tuple[str, ...] = ()
) -> Decision:
    """Return the decision to refuse for *wait*."""
    return made(Decision, (False, rule, 0, -(-wait // 1000), -(-(now + wait) // 1000), banned, shadowed))


def faded(previous: int, left: int, period: int) -> int:
    """Return what the *previous* window's units still weigh while *left* remains of the current one."""
    return previous * left // period


def wait(rule: Rule, previous: int, current: int, left: int) -> int:
    """Return after how long a request of *rule* is served if nothing else is counted meanwhile; 0 = now."""
    room = rule.amount - rule.cost
    if current > room:  # not before the current window has become the previous one, and faded
        return left + max(0, rule.period - _fading(current, room, rule.period))
    if faded(previous, left, rule.period) <= room - current:
        return 0
    return left - _fading(previous, room - current, rule.period)


def owed(rule: Rule, debt: int, elapsed: int) -> int:
    """Return what is left of a gcra *debt*: units times the period, so that nothing is rounded.

    GCRA's theoretical arrival time is when nothing is owed any more. Late counts may overdraw what the rule
    lends by what it grants in one period, so that nobody is locked out for longer than that.
    """
    most = (rule.most + rule.amount) * rule.period
    return max(0, min(debt, most) - max(0, elapsed) * rule.amount)


def until_paid(rule: Rule, debt: int) -> int:
    """Return after how long a gcra client that owes *debt* can be lent one more request; 0 = now."""
    return max(0, -((rule.most * rule.period - debt - rule.cost * rule.period) // rule.amount))


def until_drained(rule: Rule, debt: int) -> int:
    """Return after how long nothing of *debt* is owed."""
    return -(-debt // rule.amount)


def _fading(count: int, room: int, period: int) -> int:
    """Return how much of its window may be left so that *count* weighs no more than *room*."""
    return ((room + 1) * period - 1) // count
