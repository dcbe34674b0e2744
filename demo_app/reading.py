"""What a client may ask with, read strictly: every fault is named, all of them at once."""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.requests import Request

from demo_app.problems import Refused

__all__ = ("Query", "path_id")

_WHOLE = re.compile(r"0|[1-9][0-9]{0,9}")
_LARGEST_ID = 2**31 - 1
_FURTHEST_PAGE = 1_000_000


class Query:
    """The parameters of one request; `check` refuses it if any of them had a fault."""

    def __init__(self, request: Request, *known: str) -> None:
        self._given: dict[str, str] = {}
        self._faults: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name not in known:
                self._faults[name[:40]] = f"unknown parameter; known: {', '.join(known) or 'none'}"
            elif name in self._given:
                self._faults[name] = "given more than once"
            self._given[name] = value

    def text(self, name: str, *, longest: int) -> str | None:
        """Return the text without space around it; None where there is none."""
        value = self._given.get(name, "").strip()
        if len(value) > longest or "\0" in value:
            self._faults[name] = f"must be text of at most {longest} characters"
        return value or None

    def choice(self, name: str, choices: Collection[str], *, default: str) -> str:
        """Return one of *choices*."""
        value = self._given.get(name, default)
        if value not in choices:
            self._faults[name] = f"must be one of {', '.join(choices)}"
        return value

    def match(self, name: str, pattern: re.Pattern[str], *, example: str) -> str:
        """Return what must be there and match *pattern*."""
        value = self._given.get(name, "")
        if not pattern.fullmatch(value):
            self._faults[name] = f"must be given, like {example}"
        return value

    def page(self) -> int:
        """Return the page asked for, from 1."""
        value = self._given.get("page", "1")
        if not _WHOLE.fullmatch(value) or not 1 <= int(value) <= _FURTHEST_PAGE:
            self._faults["page"] = "must be a whole number from 1"
            return 1
        return int(value)

    def check(self) -> None:
        """Raise `Refused` if anything that was read had a fault."""
        if self._faults:
            raise Refused(400, self._faults)


def path_id(request: Request) -> int:
    """Return the path's id, which has one spelling only: what is stored for it has one name."""
    value = request.path_params["id"]
    if not _WHOLE.fullmatch(value):
        raise Refused(400, {"id": "must be a whole number without leading zeros"})
    return min(int(value), _LARGEST_ID)  # beyond it there is nothing, and PostgreSQL's integer ends
