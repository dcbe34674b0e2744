"""``email.send`` against a real server: what arrives, and what becomes of what does not."""

from __future__ import annotations

import asyncio
import re
import sys
from base64 import b64encode
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from sipup_middleware import ConfigurationError, MissingExtra
from sipup_middleware.jobs.catalog import email
from sipup_middleware.jobs.running import Discard, JobContext, Retry
from sipup_middleware.jobs.task import Task
from tests.jobs.catalog.conftest import Certificate
from tests.jobs.catalog.endpoint import listening
from tests.jobs.catalog.mail_server import MailServer, only

Start = Callable[..., MailServer]

LETTER: dict[str, Any] = {"to": "ada@example.com", "subject": "Order 7", "text": "Thank you.\n"}


def task(server: MailServer, **options: Any) -> Task:
    return email(f"smtp://127.0.0.1:{server.port}", sender="Shop <shop@example.org>", **options)


async def test_an_email_arrives_as_it_was_described(mail_server: Start, ctx: JobContext) -> None:
    server = mail_server()
    payload = {
        "to": ["Ada Lovelace <ada@example.com>", "Zoë <zoe@bücher.example>"],
        "cc": "carl@example.com",
        "bcc": ["eve@example.com", "ada@example.com"],
        "reply_to": "desk@example.org",
        "subject": "Grüße ☕",
        "text": "Hallo.\n.\nEnde\n",
        "html": "<p>Hallo</p>",
        "attachments": [
            {"filename": "rechnung.csv", "content": b64encode(b"a,b\n").decode(), "media_type": "text/csv"}
        ],
    }

    result = await task(server, clock=lambda: 1_700_000_000.0)(ctx, **payload)

    (envelope,), (message,) = server.envelopes, server.messages
    assert result == {"refused": 0}
    assert envelope.mail_from == "shop@example.org"
    assert envelope.rcpt_tos == [
        "ada@example.com",
        "zoe@xn--bcher-kva.example",
        "carl@example.com",
        "eve@example.com",
    ]
    assert message["from"] == "Shop <shop@example.org>"
    assert message["to"] == "Ada Lovelace <ada@example.com>, Zoë <zoe@xn--bcher-kva.example>"
    assert message["cc"] == "carl@example.com"
    assert message["reply-to"] == "desk@example.org"
    assert message["subject"] == "Grüße ☕"
    assert parsedate_to_datetime(message["date"]).timestamp() == 1_700_000_000
    assert b"eve@" not in bytes(message)
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert plain.get_content().splitlines() == ["Hallo.", ".", "Ende"]
    assert html is not None
    assert html.get_content().strip() == "<p>Hallo</p>"
    (attachment,) = message.iter_attachments()
    assert attachment.get_filename() == "rechnung.csv"
    assert attachment.get_payload(decode=True) == b"a,b\n"


async def test_the_message_id_is_the_jobs_and_the_same_at_each_attempt(mail_server: Start) -> None:
    server = mail_server()

    for attempt in (1, 2):
        await task(server)(JobContext(id="0f6b7c1e", name="email.send", attempt=attempt), **LETTER)

    assert [each["message-id"] for each in server.messages] == ["<0f6b7c1e@example.org>"] * 2


async def test_a_key_that_is_no_message_id_is_made_one(mail_server: Start) -> None:
    server = mail_server()
    key = "order 7:<ü>@" + "x" * 100

    await task(server)(JobContext(id=key, name="email.send"), **LETTER)

    assert server.messages[0]["message-id"] == f"<order%207%3A%3C%C3%BC%3E%40{'x' * 100}@example.org>"


async def test_the_sender_of_the_job_is_heard_before_the_one_of_the_task(
    mail_server: Start, ctx: JobContext
) -> None:
    server = mail_server()

    await task(server)(ctx, **LETTER, sender="Desk <desk@shop.example>")

    assert server.envelopes[0].mail_from == "desk@shop.example"
    assert server.messages[0]["message-id"] == "<0f6b7c1e@shop.example>"


@pytest.mark.parametrize("asked", ["DATA", "ada@example.com"])
@pytest.mark.parametrize(
    ("answer", "fate"),
    [("451 mailbox of ada@example.com is busy", Retry), ("550 no ada@example.com", Discard)],
)
async def test_4xx_is_tried_again_and_5xx_is_not(
    asked: str, answer: str, fate: type[Exception], mail_server: Start, ctx: JobContext
) -> None:
    server = mail_server()
    server.answers[asked] = answer

    with pytest.raises(fate, match=rf"refused .*\({answer[:3]}\)$") as raised:
        await task(server)(ctx, **LETTER)

    assert "@" not in str(raised.value)
    assert raised.value.__suppress_context__


async def test_it_is_tried_again_while_any_of_the_refusing_may_take_it(
    mail_server: Start, ctx: JobContext
) -> None:
    server = mail_server()
    server.answers |= {"ada@example.com": "550 no", "bob@example.com": "450 later"}

    with pytest.raises(Retry, match=re.escape("refused every recipient (450, 550)")):
        await task(server)(ctx, **LETTER | {"to": ["ada@example.com", "bob@example.com"]})

    assert server.envelopes == []


async def test_who_got_it_does_not_get_it_again_because_others_did_not(
    mail_server: Start, ctx: JobContext
) -> None:
    server = mail_server()
    server.answers |= {"ada@example.com": "550 no", "bob@example.com": "450 later"}

    result = await task(server)(
        ctx, **LETTER | {"to": ["ada@example.com", "bob@example.com", "eve@example.com"]}
    )

    assert result == {"refused": 2}
    assert [each.rcpt_tos for each in server.envelopes] == [["eve@example.com"]]


async def test_what_the_server_says_after_it_took_it_does_not_matter(
    mail_server: Start, ctx: JobContext
) -> None:
    server = mail_server()
    server.answers["QUIT"] = "451 not so fast"

    assert await task(server)(ctx, **LETTER) == {"refused": 0}


async def test_a_server_that_is_away_is_tried_again(unused_port: int, ctx: JobContext) -> None:
    with pytest.raises(Retry, match=r"^the mail server is out of reach \(SMTPConnectError\)$"):
        await email(f"smtp://127.0.0.1:{unused_port}", sender="shop@example.org")(ctx, **LETTER)


async def test_a_server_that_says_nothing_is_tried_again(ctx: JobContext) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    async with listening(silent) as port:
        with pytest.raises(Retry, match="out of reach"):
            await email(f"smtp://127.0.0.1:{port}", sender="shop@example.org", timeout=0.05)(ctx, **LETTER)


async def test_an_address_beyond_ascii_needs_a_server_that_takes_it(
    mail_server: Start, ctx: JobContext
) -> None:
    takes, does_not = mail_server(), mail_server(enable_SMTPUTF8=False)
    payload = LETTER | {"to": "zoë@example.com"}

    await task(takes)(ctx, **payload)

    assert takes.envelopes[0].rcpt_tos == ["zoë@example.com"]
    with pytest.raises(Discard, match="beyond ASCII"):
        await task(does_not)(ctx, **payload)


async def test_with_a_password_the_connection_is_encrypted_first(
    mail_server: Start, trusted: Certificate, ctx: JobContext
) -> None:
    server = mail_server(
        tls_context=trusted.server_side(), authenticator=only(b"app", b"p@ss word"), auth_required=True
    )
    url = f"smtp://app:p%40ss%20word@127.0.0.1:{server.port}"

    await email(url, sender="shop@example.org")(ctx, **LETTER)

    assert server.encrypted == [True]


async def test_smtps_is_encrypted_from_the_first_byte(
    mail_server: Start, trusted: Certificate, ctx: JobContext
) -> None:
    server = mail_server(ssl_context=trusted.server_side())

    await email(f"smtps://localhost:{server.port}", sender="shop@example.org")(ctx, **LETTER)

    assert len(server.envelopes) == 1


async def test_a_certificate_that_nobody_trusts_stops_it(
    mail_server: Start, certificate: Certificate, ctx: JobContext
) -> None:
    server = mail_server(tls_context=certificate.server_side())

    with pytest.raises(Retry, match="SSLCertVerificationError"):
        await task(server)(ctx, **LETTER)

    assert server.envelopes == []


async def test_a_password_is_not_told_to_a_server_without_starttls(
    mail_server: Start, ctx: JobContext
) -> None:
    server = mail_server(authenticator=only(b"app", b"hunter2"), auth_require_tls=False)
    url = f"smtp://app:hunter2@127.0.0.1:{server.port}"

    with pytest.raises(Retry, match="does not offer what its URL asks for"):
        await email(url, sender="shop@example.org")(ctx, **LETTER)

    assert await email(f"{url}?starttls=never", sender="shop@example.org")(ctx, **LETTER) == {"refused": 0}


async def test_a_wrong_password_is_final_and_not_told(mail_server: Start, ctx: JobContext) -> None:
    server = mail_server(authenticator=only(b"app", b"hunter2"), auth_require_tls=False)
    url = f"smtp://app:hunter3@127.0.0.1:{server.port}?starttls=never"

    with pytest.raises(Discard, match=r"^the mail server refused the e-mail \(535\)$"):
        await email(url, sender="shop@example.org")(ctx, **LETTER)


async def test_what_code_does_not_say_the_environment_of_the_worker_does(
    mail_server: Start, ctx: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, standard = mail_server(), email()
    monkeypatch.setenv("SIPUP_SMTP_URL", f"smtp://127.0.0.1:{server.port}")
    monkeypatch.setenv("SIPUP_SMTP_SENDER", "shop@example.org")

    await standard(ctx, **LETTER)

    assert server.envelopes[0].mail_from == "shop@example.org"


@pytest.mark.parametrize(
    ("url", "sender", "complaint"),
    [
        ("", "shop@example.org", "SIPUP_SMTP_URL is not set, and email() was given no url"),
        ("smtp://localhost", "", "SIPUP_SMTP_SENDER is not set, and email() was given no sender"),
        ("smtp://app:hunter2@", "shop@example.org", "SIPUP_SMTP_URL: must be smtp://"),
        ("smtp://localhost", "shop", "SIPUP_SMTP_SENDER: must be an address"),
    ],
)
async def test_a_worker_whose_environment_does_not_do_says_which_variable(
    url: str, sender: str, complaint: str, ctx: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIPUP_SMTP_URL", url)
    monkeypatch.setenv("SIPUP_SMTP_SENDER", sender)

    with pytest.raises(Discard, match=re.escape(complaint)) as raised:
        await email()(ctx, **LETTER)

    assert "hunter2" not in str(raised.value)


async def test_a_payload_that_was_never_examined_is_final(mail_server: Start, ctx: JobContext) -> None:
    with pytest.raises(Discard, match=r"^to: must be an address"):
        await task(mail_server())(ctx, **LETTER | {"to": "nobody"})


async def test_without_its_library_the_job_names_the_extra(
    ctx: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sipup_middleware.jobs.catalog.smtp", raising=False)
    monkeypatch.setitem(sys.modules, "aiosmtplib", None)

    with pytest.raises(MissingExtra, match=r"sipup-middleware\[jobs\]"):
        await email("smtp://localhost", sender="shop@example.org")(ctx, **LETTER)


def test_the_task_is_urgent_and_does_not_show_the_password() -> None:
    task = email("smtp://app:hunter2@localhost", sender="shop@example.org", timeout=20)

    assert (task.name, task.priority, task.timeout) == ("email.send", "high", 20)
    assert "hunter2" not in repr(task)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"url": "http://localhost"}, "email.url: must be smtp://"),
        ({"url": "smtp://app:hunter2@localhost:x"}, "email.url: must be smtp://"),
        ({"sender": "shop"}, "email.sender: must be an address"),
        ({"timeout": 0}, "timeout must be above 0"),
    ],
)
def test_a_wrong_option_is_named_at_once(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(complaint)) as raised:
        email(**options)

    assert "hunter2" not in str(raised.value)
