"""JSON answers: ids are numbers, money is a string, times are RFC 3339."""

from __future__ import annotations

from decimal import Decimal

import orjson
from starlette.responses import Response

__all__ = ("JSON", "encode")


class JSON(Response):
    """A response of whatever orjson and `Decimal` can say."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Return *content* as UTF-8."""
        return encode(content)


def encode(content: object) -> bytes:
    """Return one line of JSON."""
    return orjson.dumps(content, default=_money, option=orjson.OPT_APPEND_NEWLINE)


def _money(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(type(value).__name__)
