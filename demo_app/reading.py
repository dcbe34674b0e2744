"""What a client may ask with, read strictly: every fault is named, all of them at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from demo_app.problems import Refused

__all__ = ("SMALL", "Fields", "Query", "path_id", "read_body", "read_fields")

SMALL = 1024
"""Bytes that a body of a few words and numbers may have."""

_WHOLE = re.compile(r"0|[1-9][0-9]{0,9}")
_MONEY = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")
_CENT = Decimal("0.01")
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


class Fields:
    """The fields of one JSON object; `check` refuses it if any of them had a fault."""

    def __init__(self, document: Mapping[str, Any], *known: str) -> None:
        self._document = document
        self._faults = {
            name[:40]: f"unknown field; known: {', '.join(known)}" for name in document if name not in known
        }

    @classmethod
    def parse(cls, data: bytes | str, *known: str, example: str, what: str = "body") -> Fields:
        """Read an object like *example*, of the fields *known*; raises `Refused` that names *what*."""
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise Refused(400, {what: "must be JSON"}) from None
        if not isinstance(document, dict):
            raise Refused(400, {what: f"must be an object like {example}"})
        return cls(document, *known)

    def text(self, name: str, *, longest: int) -> str:
        """Return text that is not blank."""
        value = self._document.get(name)
        if isinstance(value, str) and value.strip() and len(value) <= longest and "\0" not in value:
            return value
        self._faults[name] = f"must be text of 1 to {longest} characters"
        return ""

    def whole(self, name: str, *, most: int = _LARGEST_ID) -> int:
        """Return a whole number from 1 to *most*."""
        value = self._document.get(name)
        if type(value) is int and 1 <= value <= most:  # a bool is an int too, and is none here
            return value
        self._faults[name] = f"must be a whole number from 1 to {most}"
        return 1

    def money(self, name: str, *, lowest: Decimal, highest: Decimal) -> Decimal:
        """Return an amount, which JSON's numbers are no safe place for."""
        value = self._document.get(name)
        if not isinstance(value, str) or not _MONEY.fullmatch(value):
            self._faults[name] = 'must be a string of digits like "12.34"'
            return lowest
        amount = Decimal(value)
        if not lowest <= amount <= highest:
            self._faults[name] = f"must be from {lowest} to {highest}"
        return amount.quantize(_CENT)

    def check(self) -> None:
        """Raise `Refused` if anything that was read had a fault."""
        if self._faults:
            raise Refused(400, self._faults)


async def read_fields(request: Request, *known: str, example: str, largest: int = SMALL) -> Fields:
    """Read the body, at most *largest* bytes of JSON: an object like *example*, of the fields *known*."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Refused(415, {"Content-Type": "must be application/json"})
    return Fields.parse(await read_body(request, largest), *known, example=example)


async def read_body(request: Request, largest: int) -> bytes:
    """Read the body; raises `Refused` where it has more than *largest* bytes, or ends early."""
    body = b""
    try:
        async with aclosing(request.stream()) as chunks:  # trio minds a generator left in the middle
            async for chunk in chunks:
                body += chunk
                if len(body) > largest:
                    raise Refused(413, {"body": f"must be at most {largest} bytes"})
    except ClientDisconnect:
        raise Refused(400, {"body": "ended early"}) from None
    return body
