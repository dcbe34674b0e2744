"""A SQL text without what varies from call to call: it groups statements, and holds no value."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ("CUT", "Normal", "normal")

CUT = 10_000
"""Characters of a text that are read."""

_SHOWN = 1_000
"""Characters that are kept."""

_TOKEN = re.compile(
    r"""
    (?P<space> (?: \s | --[^\n]* | /\*(?:(?!/\*|\*/). | /\*(?:(?!\*/).)*\*/)*(?:\*/|\Z) )+ )
    | (?P<literal>
        [eE]'(?: [^'\\] | \\. | '' )*(?:'|\Z)
      | (?:[bBnNxX] | [uU]&)?'(?: [^'] | '' )*(?:'|\Z)
      | \$(?P<tag>(?:[^\W\d]\w*)?)\$ .*? (?:\$(?P=tag)\$|\Z)
      | (?: \d\w*\.?\w* | \.\d\w* )(?: (?<=[eE])[+-]\d+ )?
      )
    | "(?: [^"] | "" )*"? | \$\d+ | [^\W\d][\w$]*
    """,
    re.VERBOSE | re.DOTALL,
)
_LIST = re.compile(r"\(\s?(?:(?:\?|\$\d+)(?:::\w+)?\s?,\s?)+(?:\?|\$\d+)(?:::\w+)?\s?\)")
_ROWS = re.compile(r"\(\.\.\.\)(?:\s?,\s?\(\.\.\.\))+")


class Normal(NamedTuple):
    """A normalised text."""

    text: str
    """One line, with ``?`` for each literal and ``(...)`` for a list of values or parameters."""

    literals: tuple[str, ...]
    """What stood there."""


def normal(sql: str) -> Normal:
    """Return *sql* in the form that all texts have which differ in literals, comments and space alone."""
    found: list[str] = []

    def replace(token: re.Match[str]) -> str:
        if token["space"]:
            return " "
        if token["literal"]:
            found.append(token[0])
            return "?"
        return token[0]

    text = _TOKEN.sub(replace, sql[:CUT]).strip(" ;")
    return Normal(_ROWS.sub("(...), ...", _LIST.sub("(...)", text))[:_SHOWN], tuple(found))
