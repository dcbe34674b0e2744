"""What a server's URL may show, and which database it means."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ("database_of", "masked")

_SHOWN = frozenset({"application_name", "db", "host", "max_bytes", "port", "sslmode", "target_session_attrs"})
"""What a URL's query may say aloud."""

_USER = re.compile(r"(?<=//)([^:/?]*):.*@")
"""Greedy: an unescaped ``@`` or ``/`` in a password must not end it."""


def masked(url: str) -> str:
    """Return *url* without what may be a secret: the password, and all of the query that is not known."""
    before, mark, query = _USER.sub(r"\1:***@", url).partition("?")
    shown = "&".join(
        each if each.partition("=")[0] in _SHOWN else f"{each.partition('=')[0]}=***"
        for each in query.split("&")
    )
    return f"{before}{mark}{shown if mark else ''}"


def database_of(url: str) -> tuple[str, str, str]:
    """Return host, port and name of the PostgreSQL database at *url*: equal for two URLs of the same one."""
    parts = urlsplit(url)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    hosts = parts.netloc.rpartition("@")[2]
    host, _, port = ("", "", "") if "," in hosts else hosts.partition(":")
    name = unquote(parts.path[1:]) or asked.get("dbname", "") or unquote(parts.username or "")
    host = hosts if "," in hosts else (unquote(host) or asked.get("host", "") or "localhost")
    return host.lower(), port or asked.get("port", "") or "5432", name
