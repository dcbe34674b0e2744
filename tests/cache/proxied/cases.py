"""The words that tables are written in, and how a case is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from tests.cache.apps import Clock
from tests.cache.proxied.client import Got, fetch
from tests.cache.proxied.origin import Origin, Reply

__all__ = (
    "ETAG",
    "FRESH",
    "GONE",
    "MODIFIED",
    "Case",
    "Proxied",
    "Step",
    "confirmed",
    "goes",
    "held",
    "honored",
    "says",
    "stored",
    "unstored",
    "until",
)

FRESH = "Cache-Control: max-age=60"
ETAG = 'ETag: "a"'
MODIFIED = "Last-Modified: {now-9999}"
GONE = Reply(cut=1 << 20)
"""The origin hangs up."""

_DEADLINE = 20.0
_NUMBERS = count(1)
Fields = Mapping[str, str | None]


@dataclass(frozen=True)
class Step:
    """One request, what the origin answers to it, and what the client must get."""

    reply: Reply | None
    """None = the origin must not be asked."""

    sends: tuple[str, ...] = ()
    method: str = "GET"
    target: str = ""
    """What follows the case's own path, or all of a target that begins with ``http:``."""

    content: bytes = b""
    later: float = 0.0
    """Seconds that pass before."""

    status: int | None = None
    """None = that of the origin's answer, which is 200 where it is not asked."""

    body: bytes | None = None
    """None = the origin's answer."""

    gets: Fields = field(default_factory=dict)
    """What fields of the response must hold; None = they must not be there."""

    asked: Fields = field(default_factory=dict)
    """What the origin must have been asked with."""

    whole: bool = True
    behind: Reply | None = None
    """What the origin is asked for after the response."""

    eventually: bool = False
    """Whether it may take a moment until it is so."""

    times: int = 1
    """How often the origin is asked."""


@dataclass(frozen=True)
class Case:
    """A name that begins with a section, and requests of one URL that nobody else asks for."""

    name: str
    steps: tuple[Step, ...] = field(repr=False)
    honors: bool = False
    """Whether the cache heeds the Cache-Control of requests."""

    def __str__(self) -> str:
        return self.name


def says(*lines: str, **more: Any) -> Reply:
    """An answer of the origin with these header lines."""
    return Reply(lines, **more)


def goes(reply: Reply, *sends: str, **more: Any) -> Step:
    """A request that the origin must be asked, and whose answer the client must get."""
    return Step(reply, sends, **more)


def held(*sends: str, body: bytes = b"1", **more: Any) -> Step:
    """A request that must be answered with the first answer, without the origin."""
    return Step(None, sends, body=body, **more)


def confirmed(
    reply: Reply, *sends: str, body: bytes = b"1", status: int = 200, asked: Fields | None = None, **more: Any
) -> Step:
    """A request at which the origin must be asked, and the client must get the first answer."""
    return Step(reply, sends, body=body, status=status, asked=asked or {}, **more)


def stored(name: str, *lines: str, later: float = 0.0, **more: Any) -> Case:
    """An answer that must be stored."""
    reply = says(*lines, **more)
    return Case(name, (goes(reply), held(later=later, status=reply.status)))


def unstored(name: str, *lines: str, later: float = 0.0, **more: Any) -> Case:
    """An answer that must not be used again."""
    reply = says(*lines, **more)
    return Case(name, (goes(reply), goes(reply, later=later, asked={"if-none-match": None})))


def honored(name: str, *steps: Step) -> Case:
    """A case at a cache that heeds the Cache-Control of requests."""
    return Case(name, steps, honors=True)


@dataclass
class Proxied:
    """The cache before the proxy before the origin, on a server."""

    port: int
    origin: Origin
    clock: Clock

    def run(self, case: Case) -> Got:
        """Play every step of *case* at a URL of its own; return what came last."""
        path = f"/{'honors' if case.honors else 'default'}/{next(_NUMBERS)}/"
        self.origin.count = 0
        got = Got()
        for number, step in enumerate(case.steps, start=1):
            got = self._play(path, step, f"{case.name}, request {number}")
        return got

    def _play(self, path: str, step: Step, where: str) -> Got:
        self.clock.now += step.later
        self.origin.seen.clear()
        self.origin.reply = _placed(step.reply or step.behind, path)
        got = self._fetch(path, step)
        if step.behind is not None:
            until(lambda: bool(self.origin.seen))
        elif step.reply is None:
            assert not self.origin.seen, f"{where}: the origin was asked"
        else:
            assert len(self.origin.seen) == step.times, f"{where}: the origin was asked {self.origin.seen}"
        self._check_asked(step, where)
        _check(got, step, self.origin.count, where)
        return got

    def _fetch(self, path: str, step: Step) -> Got:
        target = step.target if step.target.startswith("http:") else path + step.target
        target = target.replace("{path}", path)
        sends = tuple(line.replace("{path}", path) for line in step.sends)
        got = fetch(self.port, step.method, target, sends, step.content)
        if step.eventually:
            deadline = time.monotonic() + _DEADLINE
            while got.body != step.body and time.monotonic() < deadline:
                got = fetch(self.port, step.method, target, sends, step.content)
        return got

    def _check_asked(self, step: Step, where: str) -> None:
        for name, value in step.asked.items():
            found = self.origin.seen[-1].fields.get(name)
            assert found == value, f"{where}: the origin was asked with {name}: {found}"


def _placed(reply: Reply | None, path: str) -> Reply | None:
    return reply and replace(reply, lines=tuple(line.replace("{path}", path) for line in reply.lines))


def _check(got: Got, step: Step, count: int, where: str) -> None:
    status = step.status or (step.reply.status if step.reply else 200)
    assert got.status == status, f"{where}: {got}"
    assert got.whole == step.whole, f"{where}: {got}"
    if step.whole and not (step.body is None and step.reply is None):  # else it is the cache's own
        assert got.body == _expected_body(step, status, count), f"{where}: {got}"
    for name, value in step.gets.items():
        assert got.field(name) == value, f"{where}: {name}: {got.field(name)}"


def _expected_body(step: Step, status: int, count: int) -> bytes:
    if step.method == "HEAD" or status in {204, 304}:
        return b""
    if step.body is not None:
        return step.body
    assert step.reply is not None
    return b"%d" % count if step.reply.body is None else step.reply.body


def until(true: Callable[[], bool]) -> None:
    """Wait for what happens elsewhere."""
    deadline = time.monotonic() + _DEADLINE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)
