"""The SMTP side: takes every message, for whomever it is, and delivers none."""

from __future__ import annotations

import asyncio
import socket
from asyncio import AbstractServer
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from demo_app.mailbox.arrivals import Arrivals

__all__ = ("serve_mail",)

_LARGEST_MESSAGE = 1 << 20
_LONGEST_TEXT = 20_000
_LONGEST_LINE = 1_000
_IDLE = 60.0
"""Seconds that a silent client stays connected."""


async def serve_mail(listener: socket.socket, arrivals: Arrivals) -> AbstractServer:
    """Take e-mails from *listener* until the server is closed."""
    loop, sink = asyncio.get_running_loop(), _Sink(arrivals)

    def connected() -> SMTP:
        return SMTP(
            sink,
            data_size_limit=_LARGEST_MESSAGE,
            enable_SMTPUTF8=True,
            hostname="mailbox",  # else each connection asks the resolver
            ident="sipup",
            loop=loop,
            timeout=_IDLE,
        )

    return await loop.create_server(connected, sock=listener)


class _Sink:
    """aiosmtpd's handler."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802 (aiosmtpd's signature)
        content = cast("bytes", envelope.original_content)
        name, since, shown = _read(content)
        shown = {
            **shown,
            "from": shown["from"] or _line(envelope.mail_from),
            "to": shown["to"] or _line(", ".join(envelope.rcpt_tos)),
        }
        self._arrivals.add("email", name, since=since, shown=shown)
        return "250 OK"


def _read(content: bytes) -> tuple[str | None, str, dict[str, str]]:
    """Return the Message-ID, the Timestamp header, and what a reader wants to see."""
    try:
        message = message_from_bytes(content, policy=policy.default)
        name, since, subject = (_line(message[header]) for header in ("message-id", "timestamp", "subject"))
        shown = {"from": _line(message["from"]), "to": _line(message["to"]), "subject": subject}
        return name or None, since, {**shown, "text": _shorten(_body(message), _LONGEST_TEXT)}
    except Exception:  # noqa: BLE001 (the parser's own for some malformed headers: the message still arrived)
        text = _shorten(content.decode("utf-8", "replace"), _LONGEST_TEXT)
        return None, "", {"from": "", "to": "", "subject": "", "text": text}


def _body(message: EmailMessage) -> str:
    part = cast("EmailMessage | None", message.get_body(("plain", "html")))
    if part is None:
        return ""
    try:
        return str(part.get_content())
    except LookupError:  # a charset that nobody knows
        return cast("bytes", part.get_payload(decode=True)).decode("utf-8", "replace")


def _line(value: object) -> str:
    return "" if value is None else _shorten(str(value), _LONGEST_LINE).strip()


def _shorten(text: str, longest: int) -> str:
    """Return *text* as JSON can say it: without lone surrogates, and not too much of it."""
    whole = text.replace("\r\n", "\n").encode("utf-8", "replace").decode()
    return whole if len(whole) <= longest else f"{whole[:longest]} …"
