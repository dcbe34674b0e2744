"""How long answers live that do not say it themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from urllib.parse import unquote, unquote_plus

from sipup_middleware.errors import ConfigurationError

__all__ = ("Match", "Rule", "forbids", "match_rules", "misleads")

_NAME = re.compile(r"\{(\w+)\}")
_DOTS = frozenset({".", ".."})
_PIECE = re.compile(r"\{([A-Za-z_]\w*)\}|(\*)|([^{}*]+)|(.)")


@dataclass(frozen=True, slots=True)
class Rule:
    """A lifetime for answers without explicit freshness: no ``s-maxage``, ``max-age`` or ``Expires``.

    It serves only requests without Cookie and Authorization, and only the statuses 200, 203, 204, 300, 301,
    308 and 410: whatever else should be stored, the app declares.
    """

    path: str | None = None
    """``{name}`` stands for one segment, ``*`` for anything; None = every path."""

    ttl: float = field(kw_only=True)
    """Seconds; 0 = do not store."""

    stale: float = field(default=0.0, kw_only=True)
    """Seconds after these in which the old answer is served while one request makes a new one."""

    content_type: str | None = field(default=None, kw_only=True)
    """Only answers of this media type, whatever its parameters; None = any."""

    query: Sequence[str] | None = field(default=(), kw_only=True)
    """The parameters that may be asked with; a request with another bypasses the store. None = any."""

    tags: Sequence[str] = field(default=(), kw_only=True)
    """Names to purge the answers by; ``{name}`` is filled from the path."""

    _pattern: re.Pattern[str] | None = field(default=None, init=False, repr=False, compare=False)
    _literal: bool = field(default=False, init=False, repr=False, compare=False)
    _match: Match | None = field(default=None, init=False, repr=False, compare=False)
    """The same for every path, where no tag is to be filled."""

    def __post_init__(self) -> None:
        _check_seconds("ttl", self.ttl)
        _check_seconds("stale", self.stale)
        for name in ("query", "tags"):
            if isinstance(getattr(self, name), str):
                raise ConfigurationError(f"Rule.{name} takes a sequence of names, not a string")
        if self.query is not None:
            object.__setattr__(self, "query", tuple(self.query))
        object.__setattr__(self, "tags", tuple(self.tags))
        object.__setattr__(self, "content_type", self.content_type and self.content_type.lower())
        object.__setattr__(self, "_pattern", None if self.path is None else _compile(self.path))
        known = set(self._pattern.groupindex) if self._pattern else set[str]()
        for tag in self.tags:
            if missing := set(_NAME.findall(tag)) - known:
                raise ConfigurationError(f"Rule.tags names {sorted(missing)}, which its path does not")
        object.__setattr__(self, "_literal", self.path is not None and not set(self.path) & set("{*"))
        if not any(map(_NAME.search, self.tags)):
            object.__setattr__(self, "_match", Match(self, tuple(self.tags)))

    def match(self, path: str) -> Match | None:
        """Return this rule as it applies to *path*; None where it does not."""
        if self._pattern is None:
            return self._match
        if self._match is not None and self._literal:
            return self._match if path == self.path else None
        read = self._pattern.fullmatch(path)
        if read is None:
            return None
        if self._match is not None:
            return self._match
        return Match(self, tuple(_NAME.sub(lambda name: read[name[1]], tag) for tag in self.tags))

    def allows(self, query: bytes) -> bool:
        """Say whether every parameter of *query* is listed."""
        if self.query is None or not query:
            return True
        given = (part.partition("=")[0] for part in query.decode("latin-1").split("&") if part)
        return all(unquote_plus(name) in self.query for name in given)


@dataclass(slots=True)  # not frozen: that costs a microsecond a request
class Match:
    """A rule on a path that it covers."""

    rule: Rule
    tags: tuple[str, ...]
    """The rule's, filled."""


def match_rules(rules: tuple[Rule, ...], path: str) -> tuple[Match, ...]:
    """Return the rules that may decide an answer of *path*; its media type says which does."""
    found = []
    for rule in rules:
        if match := rule.match(path):
            found.append(match)
            if rule.content_type is None:
                break
    return tuple(found)


def forbids(matches: tuple[Match, ...], query: bytes) -> bool:
    """Say whether *query* holds what is not listed by the rule that decides whatever the media type."""
    return bool(matches) and matches[0].rule.content_type is None and not matches[0].rule.allows(query)


def misleads(path: str) -> bool:
    """Say whether an app may read *path* as another one than a rule does: "/static/../account".

    That is where it holds dot segments, backslashes or control characters, or hides them.
    """
    if "%" in path:
        path = unquote(path)
    if "\\" in path or not path.isprintable():
        return True
    return "/." in path and not _DOTS.isdisjoint(path.split("/"))


def _check_seconds(name: str, seconds: float) -> None:
    if isinstance(seconds, bool) or not isfinite(seconds) or seconds < 0:
        raise ConfigurationError(f"Rule.{name} must be at least 0 seconds, not {seconds}")


def _compile(path: str) -> re.Pattern[str]:
    if not path.startswith(("/", "*")):
        raise ConfigurationError(f"Rule.path must begin with '/', not {path!r}")
    pieces = _PIECE.findall(path)
    names = [name for name, *_ in pieces if name]
    if any(stray for *_, stray in pieces) or len(set(names)) < len(names):
        raise ConfigurationError(f"Rule.path {path!r} must hold each {{name}} once, and no other brace")
    head, brace, tail = path.rpartition("}")
    pattern = "".join(
        f"(?P<{name}>[^/]+)" if name else ".*" if anything else re.escape(text)
        for name, anything, text, _ in _PIECE.findall(head + brace)
    )
    return re.compile(pattern + _glob(tail), re.DOTALL)


def _glob(text: str) -> str:
    """Return the pattern of *text*, which holds no names; however many stars, it never looks back twice."""
    first, *others = map(re.escape, text.split("*"))
    if not others:
        return first
    *middle, last = others
    return f"{first}{''.join(f'(?>.*?{each})' for each in middle)}.*{last}"
