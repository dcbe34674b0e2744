"""Which mail server a URL means: ``smtp://user:password@host:port?starttls=always``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

__all__ = ("Server",)

_URL = re.compile(
    r"(?P<scheme>smtps?)://"
    r"(?:(?P<user>[^\s/?#@:]+):(?P<password>[^\s/?#@:]+)@)?"
    r"(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"/?(?:\?starttls=(?P<starttls>always|never|auto))?",
    re.ASCII | re.IGNORECASE,
)
_STARTTLS = {"always": True, "never": False, "auto": None}
_LARGEST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A mail server, and how to speak to it."""

    host: str
    port: int | None = None
    """None = 465 where ``tls``, 587 where ``starttls`` is a must, else 25."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    """From the first byte."""

    starttls: bool | None = None
    """None = where the server offers it."""

    @classmethod
    def read(cls, name: str, url: str) -> Server:
        """Return what *url* means. Raises `ValueError` that says *name*, not the URL and its password."""
        found = _URL.fullmatch(url)
        if found is None:
            raise ValueError(
                f"{name}: must be smtp://user:password@host:port or smtps://…, user and password %-escaped; "
                "?starttls=always, never or auto may follow"
            )
        tls, asked = found["scheme"].lower() == "smtps", found["starttls"]
        if tls and asked:
            raise ValueError(
                f"{name}: must not have ?starttls= with smtps://, which is encrypted from the first byte"
            )
        port = int(found["port"]) if found["port"] else None
        if port is not None and not 1 <= port <= _LARGEST_PORT:
            raise ValueError(f"{name}: must have a port from 1 to {_LARGEST_PORT}")
        default = "always" if found["user"] else "auto"
        return cls(
            host=found["host"].strip("[]"),
            port=port,
            user=unquote(found["user"]) if found["user"] else None,
            password=unquote(found["password"]) if found["user"] else None,
            tls=tls,
            starttls=False if tls else _STARTTLS[(asked or default).lower()],
        )
