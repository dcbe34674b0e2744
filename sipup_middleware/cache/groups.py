"""Answers that go together, and are purged together: RFC 9875."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.types import Scope

from sipup_middleware.asgi import header
from sipup_middleware.cache.directives import split_list

__all__ = ("group_tags",)

_MEMBER = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"(?: *;[ -~]*)?')
"""A String of RFC 9651; its parameters say nothing."""

_ESCAPE = re.compile(rb'\\(["\\])')


def group_tags(scope: Scope, lines: Iterable[bytes]) -> list[str]:
    """Return a tag for each group that the *lines* of Cache-Groups or Cache-Group-Invalidation name.

    A group is of one origin (section 2.1). Nothing where one of them is no String.
    """
    members = [_MEMBER.fullmatch(member) for line in lines for member in split_list(line)]
    if None in members:
        return []
    origin = f"{scope['scheme']}://{(header(scope, b'host') or b'').decode('latin-1').lower()}"
    names = (_ESCAPE.sub(rb"\1", member[1]).decode() for member in members if member)
    return [f"group:{origin} {name}" for name in names]
