"""A real SMTP server that answers as a test says."""

from __future__ import annotations

import asyncio
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class MailServer(Controller):
    """On a port of its own, in a thread of its own; to be started and stopped."""

    def __init__(self, **options: Any) -> None:
        super().__init__(self, hostname="127.0.0.1", port=0, server_hostname="mail.example", **options)
        self.answers: dict[str, str] = {}
        """What it says to RCPT, by recipient; to DATA and QUIT, by their names."""
        self.envelopes: list[Envelope] = []
        self.encrypted: list[bool] = []
        self.connections: set[SMTP] = set()
        self.deserted = asyncio.Event()

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's)
        self.envelopes.append(envelope)
        self.encrypted.append(session.ssl is not None)
        return self.answers.get("DATA", "250 OK")

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's)
        return self.answers.get("QUIT", "221 Bye")

    @property
    def messages(self) -> list[EmailMessage]:
        """What arrived, accepted or not."""
        contents = [cast("bytes", envelope.original_content) for envelope in self.envelopes]
        return [message_from_bytes(each, policy=policy.default) for each in contents]

    def factory(self) -> SMTP:
        return _Connection(self, **self.SMTP_kwargs)

    def stop(self, no_assert: bool = False) -> None:  # noqa: FBT001, FBT002 (aiosmtpd's)
        """Let each client finish first."""
        asyncio.run_coroutine_threadsafe(self._left_alone(), self.loop).result()
        super().stop(no_assert)

    async def _left_alone(self) -> None:
        async with asyncio.timeout(10):
            await self.deserted.wait()
            await asyncio.sleep(0)  # what was closed is told so

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # (not in the protocol)
        super()._trigger_server()  # type: ignore[no-untyped-call]  # (aiosmtpd's)


class _Connection(SMTP):
    """Ends when its client does."""

    def __init__(self, server: MailServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._server.connections.add(self)
        self._server.deserted.clear()
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._server.connections.discard(self)
        if not self._server.connections:
            self._server.deserted.set()

    def eof_received(self) -> bool:
        super().eof_received()
        return False


def only(user: bytes, password: bytes) -> Any:
    """Return an authenticator that lets one in."""

    def authenticate(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        return AuthResult(success=data == LoginPassword(user, password), handled=False)

    return authenticate
