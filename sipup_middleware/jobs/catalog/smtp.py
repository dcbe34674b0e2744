"""How an e-mail is handed to its server, and what the answers mean: the only module that knows aiosmtplib.

A server's words may hold an address, an error of the library a host: an error of ours says a code or a type.
"""

# ruff: noqa: ASYNC109 (aiosmtplib takes the timeout of each command)

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage

from sipup_middleware.errors import MissingExtra
from sipup_middleware.jobs.catalog.smtp_url import Server
from sipup_middleware.jobs.running import Discard, Retry

try:
    import aiosmtplib
except ImportError as missing:
    raise MissingExtra("jobs") from missing

__all__ = ("hand_over",)

_FAREWELL = 2.0
"""Seconds that a server has to answer QUIT: the e-mail is with it by then, and must not be sent again."""

_PERMANENT = 5


async def hand_over(
    server: Server, message: EmailMessage, *, sender: str, recipients: Sequence[str], timeout: float
) -> int:
    """Return how many of *recipients* were refused while others were not.

    Raises `Retry` where nobody got it and somebody may, `Discard` where nobody ever will.
    """
    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        username=server.user,
        password=server.password,
        use_tls=server.tls,
        start_tls=server.starttls,
        timeout=timeout,
    )
    try:
        await client.connect()
        refused, _ = await client.send_message(message, sender=sender, recipients=recipients)
        with suppress(aiosmtplib.SMTPException, OSError):
            await client.quit(timeout=_FAREWELL)
    except (aiosmtplib.SMTPException, OSError) as error:
        raise _verdict(error) from None
    finally:
        client.close()
    return len(refused)


def _verdict(error: Exception) -> Discard | Retry:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return _answered("refused every recipient", [each.code for each in error.recipients])
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _answered("refused the e-mail", [error.code])
    if isinstance(error, aiosmtplib.SMTPNotSupported):
        return Discard("the mail server takes no address beyond ASCII")
    if isinstance(error, OSError):
        return Retry(f"the mail server is out of reach ({type(error).__name__})")
    return Retry("the mail server does not offer what its URL asks for: STARTTLS, or a way to log in")


def _answered(what: str, codes: list[int]) -> Discard | Retry:
    kind = Discard if all(code // 100 == _PERMANENT for code in codes) else Retry
    return kind(f"the mail server {what} ({', '.join(map(str, sorted(set(codes))))})")
