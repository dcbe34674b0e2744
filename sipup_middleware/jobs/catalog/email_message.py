"""What an e-mail says, and to whom: looked at as it is enqueued, written down as it is sent."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

from sipup_middleware.jobs.catalog.email_address import CONTROL, mailbox, mailboxes

__all__ = ("Attachment", "Letter")

_MOST_RECIPIENTS = 100
"""What every server takes in one transaction: RFC 5321, 4.5.3.1.8."""

_MEDIA_TYPE = re.compile(r"(?!multipart/|message/)([a-z0-9.+-]{1,64})/([a-z0-9.+_-]{1,127})", re.IGNORECASE)
_PARTS = frozenset({"filename", "content", "media_type"})


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that comes with an e-mail."""

    filename: str
    content: bytes
    media_type: tuple[str, str]

    @classmethod
    def read(cls, field: str, given: object) -> Attachment:
        """Return what *given* describes. Raises `ValueError` that names *field* and what it lacks."""
        if not isinstance(given, Mapping) or given.keys() != _PARTS:
            raise ValueError(f"{field}: must be an object of {', '.join(sorted(_PARTS))}")
        filename = _line(f"{field}.filename", given["filename"])
        if not filename:
            raise ValueError(f"{field}.filename: must not be empty")
        media_type = given["media_type"]
        found = _MEDIA_TYPE.fullmatch(media_type) if isinstance(media_type, str) else None
        if found is None:
            raise ValueError(f"{field}.media_type: must be like text/csv, and neither multipart nor message")
        return cls(filename, _decoded(f"{field}.content", given["content"]), (found[1], found[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """An e-mail that can be sent. ``sender`` None = whoever the server's owner is."""

    to: tuple[Address, ...]
    subject: str
    text: str
    html: str | None
    sender: Address | None
    reply_to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    attachments: tuple[Attachment, ...]

    @classmethod
    def read(cls, payload: Mapping[str, Any]) -> Letter:
        """Return the e-mail that *payload* describes. Raises `ValueError` that names the field."""
        html, sender, reply_to = (payload.get(each) for each in ("html", "sender", "reply_to"))
        attachments = payload.get("attachments", ())
        if not isinstance(attachments, (list, tuple)):
            raise ValueError("attachments: must be a list")  # noqa: TRY004 (a check raises ValueError)
        letter = cls(
            to=mailboxes("to", payload["to"]),
            subject=_line("subject", payload["subject"]),
            text=_text("text", payload["text"]),
            html=None if html is None else _text("html", html),
            sender=None if sender is None else mailbox("sender", sender),
            reply_to=() if reply_to is None else mailboxes("reply_to", reply_to),
            cc=mailboxes("cc", payload.get("cc", ())),
            bcc=mailboxes("bcc", payload.get("bcc", ())),
            attachments=tuple(
                Attachment.read(f"attachments[{index}]", each) for index, each in enumerate(attachments)
            ),
        )
        if not letter.to:
            raise ValueError("to: must name a recipient")
        if len(letter.recipients) > _MOST_RECIPIENTS:
            raise ValueError(f"to: there may be {_MOST_RECIPIENTS} recipients, with cc and bcc")
        return letter

    @property
    def recipients(self) -> list[str]:
        """Each address once, whoever sees it."""
        return list(dict.fromkeys(each.addr_spec for each in (*self.to, *self.cc, *self.bcc)))

    def compose(self, sender: Address, *, key: str, now: float) -> EmailMessage:
        """Return the message, which *key* gives the same Message-ID at each attempt."""
        message = EmailMessage(policy=SMTP)
        message["From"] = sender
        for header, addresses in (("To", self.to), ("Cc", self.cc), ("Reply-To", self.reply_to)):
            if addresses:
                message[header] = addresses
        message["Subject"] = self.subject
        message["Date"] = formatdate(now)
        message["Message-ID"] = f"<{quote(key, safe='')}@{sender.domain}>"
        message.set_content(self.text)
        if self.html is not None:
            message.add_alternative(self.html, subtype="html")
        for each in self.attachments:
            main, sub = each.media_type
            message.add_attachment(each.content, maintype=main, subtype=sub, filename=each.filename)
        return message


def _text(field: str, given: object) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{field}: must be a string")  # noqa: TRY004 (a check raises ValueError)
    return given


def _line(field: str, given: object) -> str:
    line = _text(field, given)
    if CONTROL.search(line):
        raise ValueError(f"{field}: must be one line, without control characters")
    return line


def _decoded(field: str, given: object) -> bytes:
    try:
        return b64decode(_text(field, given), validate=True)
    except ValueError:
        raise ValueError(f"{field}: must be base64") from None
