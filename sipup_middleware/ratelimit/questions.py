"""How the `scripts` are asked: keys, rules and bans as they read them, packed as far as they are known."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from sipup_middleware.ratelimit.backoff import Backoff, milliseconds
from sipup_middleware.ratelimit.policy import Rule
from sipup_middleware.ratelimit.scripts import DECIDE, Script
from sipup_middleware.ratelimit.wire import packed, word

__all__ = ("Arg", "Decides", "client_key", "counter_key", "digest", "evaluating", "loading", "spec", "terms")

Arg = str | int

_FLAGS = {(False, False): "e", (True, False): "s", (False, True): "l", (True, True): "b"}
_DIGITS = 32
"""Of a client's `digest`."""

_MOST = 1024
"""Sets of rules that are kept packed; rates that depend on the request make many."""


class Decides:
    """Writes DECIDE for one request: a set of rules is packed once, but for whom they count."""

    def __init__(self, *, bans: bool) -> None:
        self._bans = bans
        self._known: dict[tuple[int, ...], tuple[Sequence[Rule], bytes]] = {}

    def write(self, asks: Sequence[tuple[Rule, str]], now: bytes, swung: bytes) -> bytes:
        """Return the command; *now* and, where there are bans, the terms *swung* are packed words."""
        digests: dict[str, bytes] = {}
        holes: list[bytes] = []
        shape: list[int] = []
        for rule, name in asks:
            found = digests.get(name)
            if found is None:
                found = digests[name] = digest(name).encode()
            holes.append(found)
            shape.append(id(rule))
        clients: dict[tuple[str, bytes], int] = {}
        if self._bans:
            for (rule, _), found in zip(asks, tuple(holes), strict=True):
                shape.append(clients.setdefault((rule.who, found), len(clients) + 1))
            holes += [found for _, found in clients]
        known = self._known.get(tuple(shape)) or self._learn(asks, tuple(shape), [who for who, _ in clients])
        return known[1] % (*holes, now, swung)

    def _learn(
        self, asks: Sequence[tuple[Rule, str]], shape: tuple[int, ...], whos: Sequence[str]
    ) -> tuple[Sequence[Rule], bytes]:
        """Pack it, and hold the rules: as long as they are held, nobody else has their ids."""
        rules = [rule for rule, _ in asks]
        clients = shape[len(rules) :] or (0,) * len(rules)
        holes = [
            *(_hole(counter_key(rule, "")) for rule in rules),
            *(_hole(client_key(who, "")) for who in whos),
        ]
        specs = b"".join(
            word(spec(rule, client).encode()) for rule, client in zip(rules, clients, strict=True)
        )
        opening = packed("EVALSHA", DECIDE.sha, len(holes)).partition(b"\r\n")[2]
        words = 3 + len(holes) + 2 + len(rules) + self._bans
        template = b"*%d\r\n%b%b%%b%b%b%%b" % (
            words,
            opening,
            b"".join(holes),
            word(b"%d" % len(rules)),
            specs,
        )
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[shape] = known = rules, template
        return known


def evaluating(script: Script, keys: Sequence[str], args: Sequence[Arg]) -> bytes:
    """Return the command that runs *script*."""
    return packed("EVALSHA", script.sha, len(keys), *keys, *args)


def loading(script: Script) -> bytes:
    """Return the command that makes *script* known."""
    return packed("SCRIPT", "LOAD", script.text)


def counter_key(rule: Rule, client: str) -> str:
    """Return where *rule* counts the client of that `digest`."""
    return f"sip:1:l:{rule.counter}:{client}"


def client_key(who: str, client: str) -> str:
    """Return where the bans of a client are."""
    return f"sip:1:l:!{who}:{client}"


def digest(name: str) -> str:
    """Bounded, and the same in every worker; no client's name reaches the server."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_DIGITS // 2).hexdigest()


def spec(rule: Rule, client: int = 0) -> str:
    """Return *rule* as the scripts read it; *client* is whose ban it meets."""
    flag = _FLAGS[rule.shadow, rule.late]
    return f"{rule.strategy[0]}:{rule.amount}:{rule.period}:{rule.cost}:{rule.most}:{flag}:{client}"


def terms(backoff: Backoff) -> str:
    """Return *backoff* as the scripts read it, but for the `swing`."""
    within, base, longest, forget = map(
        milliseconds, (backoff.within, backoff.base, backoff.max, backoff.forget)
    )
    return f"{backoff.after}:{within}:{base}:{float(backoff.factor)!r}:{longest}:{forget}"


def _hole(prefix: str) -> bytes:
    """Return a key whose end, a client's digest, is left to be filled in."""
    text = prefix.encode()
    return b"$%d\r\n%b%%b\r\n" % (len(text) + _DIGITS, text.replace(b"%", b"%%"))
