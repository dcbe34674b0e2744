"""What passes for an address: ``ada@example.com`` or ``Ada <ada@example.com>``; no list, no comment."""

from __future__ import annotations

import re
from email.headerregistry import Address
from email.utils import unquote

__all__ = ("CONTROL", "mailbox", "mailboxes")

CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
"""What could end a header, and begin another."""

_MAILBOX = re.compile(r"(?:(?P<name>[^<>]*)<(?P<named>[^<>]+)>|(?P<bare>[^<>]+))")
_LOCAL = re.compile(r"[^\s\"(),.:;<>@\[\\\]]+(?:\.[^\s\"(),.:;<>@\[\\\]]+)*")
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.IGNORECASE)
_LONGEST_LOCAL, _LONGEST_DOMAIN = 64, 255
"""RFC 5321, 4.5.3.1, in octets."""


def mailbox(field: str, given: object) -> Address:
    """Return the address in *given*. Raises `ValueError` that names *field* and does not show it."""
    wrong = ValueError(f"{field}: must be an address like ada@example.com or Ada <ada@example.com>")
    if not isinstance(given, str) or CONTROL.search(given) or (found := _MAILBOX.fullmatch(given)) is None:
        raise wrong
    local, at, domain = (found["named"] or found["bare"]).strip().rpartition("@")
    try:
        domain = domain.encode("idna").decode()
    except UnicodeError:
        raise wrong from None
    if not at or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise wrong
    if len(local.encode()) > _LONGEST_LOCAL or len(domain) > _LONGEST_DOMAIN:
        raise wrong
    return Address(unquote((found["name"] or "").strip()), local, domain)


def mailboxes(field: str, given: object) -> tuple[Address, ...]:
    """Return the addresses in *given*, one or a list of them. Raises `ValueError` that names *field*."""
    several = given if isinstance(given, (list, tuple)) else [given]
    return tuple(mailbox(field, each) for each in several)
