"""``email.send``: one e-mail, which its server takes for all of its recipients at once."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.headerregistry import Address
from typing import Any

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.jobs.catalog.email_address import mailbox
from sipup_middleware.jobs.catalog.email_message import Letter
from sipup_middleware.jobs.catalog.smtp_url import Server
from sipup_middleware.jobs.running import Discard, JobContext
from sipup_middleware.jobs.task import Task

__all__ = ("email",)

_URL, _SENDER = "SIPUP_SMTP_URL", "SIPUP_SMTP_SENDER"


def email(
    url: str | None = None,
    *,
    sender: str | None = None,
    timeout: float = 60,
    clock: Callable[[], float] = time.time,
) -> Task:
    """Return the task ``email.send``.

    *url* is ``smtp://user:password@host:port``, encrypted by STARTTLS: ``?starttls=always`` (the default with
    a password), ``auto`` (where the server offers it; the default without) or ``never``; or ``smtps://…``,
    encrypted from the first byte. None = ``SIPUP_SMTP_URL`` of the worker. *sender* is who e-mails are from,
    like ``Shop <shop@example.com>``, where a job does not say; None = ``SIPUP_SMTP_SENDER``. *timeout* is the
    seconds that an attempt may take. *clock* is for tests.

    The payload: ``to`` (an address or a list), ``subject``, ``text``; if wanted ``html``, ``sender``,
    ``reply_to``, ``cc``, ``bcc``, and ``attachments``, each ``{"filename": …, "content": base64,
    "media_type": …}``. The Message-ID is the same at each attempt. Where some recipients were refused and
    others not, the job is done, and its result says how many: ``{"refused": 1}``.
    """
    try:
        mail = _Mail(
            server=None if url is None else Server.read("email.url", url),
            sender=None if sender is None else mailbox("email.sender", sender),
            timeout=timeout,
            clock=clock,
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return Task(mail.send, name="email.send", priority="high", timeout=timeout, check=Letter.read)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mail:
    server: Server | None
    sender: Address | None = field(repr=False)
    timeout: float
    clock: Callable[[], float]

    async def send(  # noqa: PLR0913, PLR0917 (what an e-mail has; a task's are given by name)
        self,
        ctx: JobContext,
        to: str | Sequence[str],
        subject: str,
        text: str,
        html: str | None = None,
        sender: str | None = None,
        reply_to: str | Sequence[str] | None = None,
        cc: str | Sequence[str] = (),
        bcc: str | Sequence[str] = (),
        attachments: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, int]:
        """Hand it to the server; return how many of its recipients were refused."""
        try:
            server = self.server or Server.read(_URL, _environ(_URL, "url"))
            letter = Letter.read(
                {
                    "to": to,
                    "subject": subject,
                    "text": text,
                    "html": html,
                    "sender": sender,
                    "reply_to": reply_to,
                    "cc": cc,
                    "bcc": bcc,
                    "attachments": attachments,
                }
            )
            origin = letter.sender or self.sender or mailbox(_SENDER, _environ(_SENDER, "sender"))
        except ValueError as error:  # of a job that was never examined, or of the environment
            raise Discard(str(error)) from None
        hand_over = await asyncio.to_thread(_loaded)
        refused = await hand_over(
            server,
            letter.compose(origin, key=ctx.id, now=self.clock()),
            sender=origin.addr_spec,
            recipients=letter.recipients,
            timeout=self.timeout,
        )
        return {"refused": refused}


def _environ(name: str, option: str) -> str:
    if not (value := os.environ.get(name)):
        raise Discard(f"{name} is not set, and email() was given no {option}")
    return value


def _loaded() -> Callable[..., Awaitable[int]]:
    """Import the library; not on the loop, which would stand still meanwhile."""
    from sipup_middleware.jobs.catalog.smtp import hand_over  # noqa: PLC0415 (nobody who only enqueues pays for it)

    return hand_over
