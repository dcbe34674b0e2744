"""Which URLs link hosts, and how: a missing library hinders only those who name one."""

from __future__ import annotations

from hashlib import blake2b

from sipup_middleware.bridge import Home, bridge
from sipup_middleware.redis_pool import SCHEMES as LINKED
from sipup_middleware.store.link import Link
from sipup_middleware.store.listener import Listener
from sipup_middleware.store.report import Report
from sipup_middleware.store.stamps import Stamps
from sipup_middleware.urls import masked

__all__ = ("LINKED", "connect_link", "link_name")

_CONNECTIONS = 4


def connect_link(url: str, timeout: float, home: Home, stamps: Stamps, report: Report) -> Link:
    """Return the link through the server at *url*; connects when it begins."""
    from sipup_middleware.store.shared import SharedStamps  # noqa: PLC0415 (imports redis-py)

    listener = Listener(SharedStamps(url, timeout, connections=1), stamps, report)
    server = SharedStamps(url, timeout, connections=_CONNECTIONS)
    return Link(server, home, stamps, report, listener, watch=bridge())


def link_name(url: str) -> str:
    """Return what tells one server from another, so that a host's stamps for two do not mix."""
    return blake2b(masked(url).encode(), digest_size=8).hexdigest()
