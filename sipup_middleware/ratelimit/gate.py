"""Clients that are let in or kept out by their address, before anything is counted."""

from __future__ import annotations

from typing import Literal

from starlette.types import Scope

from sipup_middleware.client_ip import ClientIP
from sipup_middleware.networks import Networks

__all__ = ("Gate", "Verdict")

Verdict = Literal["allow", "deny"]


class Gate:
    """The two lists; who is on both is kept out."""

    def __init__(self, client_ip: ClientIP, *, allow: Networks, deny: Networks) -> None:
        self._client_ip = client_ip
        self._allow = allow
        self._deny = deny

    def judge(self, scope: Scope) -> Verdict | None:
        """Say what holds for the client of this request; None = the limits do."""
        # Where two headers disagree each is asked: a client must not get past the list by writing the other.
        addresses = self._client_ip.addresses(scope)
        if any(map(self._deny.contains, addresses)):
            return "deny"
        return "allow" if addresses and all(map(self._allow.contains, addresses)) else None
