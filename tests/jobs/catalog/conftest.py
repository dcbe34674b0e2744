"""These jobs run in a worker, which is on asyncio or uvloop; servers are real, names are not looked up."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sipup_middleware.jobs.running import JobContext
from tests.jobs.catalog.mail_server import MailServer

BACKENDS = [
    pytest.param(("asyncio", {"debug": True}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says nothing that the catalogue listens to."""
    for name in ("SIPUP_SMTP_URL", "SIPUP_SMTP_SENDER", "SIPUP_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ctx() -> JobContext:
    return JobContext(id="0f6b7c1e", name="of a test")


@pytest.fixture
def mail_server() -> Iterator[Callable[..., MailServer]]:
    """Start a server with what aiosmtpd's takes."""
    with ExitStack() as running:

        def start(**options: Any) -> MailServer:
            server = MailServer(**options)
            server.start()
            running.callback(server.stop)
            return server

        yield start


@dataclass
class Certificate:
    """Of ``hooks.example``, ``localhost`` and 127.0.0.1, signed by itself."""

    file: Path
    key: Path

    def server_side(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate")
    made = Certificate(*(tmp_path_factory.getbasetemp() / name for name in ("hook.crt", "hook.key")))
    names = "subjectAltName=DNS:hooks.example,DNS:localhost,IP:127.0.0.1"
    wanted = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hooks.example"
    )
    subprocess.run(
        [openssl, *wanted.split(), "-addext", names, "-keyout", made.key, "-out", made.file],
        check=True,
        capture_output=True,
    )
    return made


@pytest.fixture
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """The certificate, which our side trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    return certificate


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
