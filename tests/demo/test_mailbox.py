"""``python -m demo_app.mailbox``: what is sent to it is shown, once, and it ends when it should."""

from __future__ import annotations

import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from standardwebhooks import Webhook

from demo_app.mailbox.arrivals import Arrivals
from demo_app.mailbox.signature import Secret
from demo_app.problems import Refused

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
SECRET = "whsec_" + b64encode(bytes(range(32))).decode()
OTHER_SECRET = "whsec_" + b64encode(bytes(32)).decode()
SHOP = "http://127.0.0.1:8765"
XSS = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


@dataclass
class Mailbox:
    """A running mailbox."""

    process: subprocess.Popen[str]
    client: httpx2.Client
    smtp_port: int

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=20)

    def mail(self, *messages: EmailMessage) -> None:
        with self.connect() as smtp:
            for message in messages:
                smtp.send_message(message)

    def mail_raw(self, message: bytes) -> None:
        with self.connect() as smtp:
            smtp.sendmail("shop@sipup.example", ["buyer@acme.example"], message)

    def call(self, event: object, *, supplier: object = 7, **given: Any) -> httpx2.Response:
        body = event if isinstance(event, bytes) else orjson.dumps(event)
        return self.client.post(f"/suppliers/{supplier}", content=body, headers=signed(body, **given))

    def arrivals(self) -> list[dict[str, Any]]:
        return list(self.client.get("/arrivals").json()["arrivals"])

    def totals(self) -> dict[str, int]:
        return dict(self.client.get("/arrivals").json()["totals"])


def signed(
    body: bytes,
    *,
    name: str = "msg_1",
    at: datetime | None = None,
    secret: str = SECRET,
    before: str = "",
) -> dict[str, str]:
    at = at or datetime.now(UTC)
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": before + Webhook(secret).sign(name, at, body.decode()),
    }


def letter(text: str = "Thank you.\n", **headers: str) -> EmailMessage:
    message = EmailMessage()
    given = {"From": "shop@sipup.example", "To": "buyer@acme.example", "Subject": "Your order", **headers}
    for name, value in given.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message


@contextmanager
def launched(**environ: str) -> Iterator[Mailbox]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("SIPUP_", "DEMO_"))
    }
    with socket.create_server(("127.0.0.1", 0)) as http, socket.create_server(("127.0.0.1", 0)) as smtp:
        descriptors = (http.fileno(), smtp.fileno())
        ports = http.getsockname()[1], smtp.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "demo_app.mailbox"]
            + [f"--{name}-fd={each}" for name, each in zip(("http", "smtp"), descriptors, strict=True)]
            + [f"--owner={os.getpid()}"],
            cwd=ROOT,
            env={**inherited, "SIPUP_WEBHOOK_SECRET": SECRET, "DEMO_URL": SHOP, **environ},
            pass_fds=descriptors,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    with httpx2.Client(base_url=f"http://127.0.0.1:{ports[0]}", timeout=20) as client:
        try:
            yield Mailbox(process, client, ports[1])
        finally:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def running() -> Iterator[Mailbox]:
    with launched() as mailbox:
        yield mailbox


@pytest.fixture
def mailbox(running: Mailbox) -> Mailbox:
    assert running.client.delete("/arrivals").status_code == 204
    return running


def faults(reply: httpx2.Response) -> list[str]:
    assert reply.headers["content-type"] == "application/problem+json"
    return [each["field"] for each in reply.json()["errors"]]


def test_an_email_is_shown(mailbox: Mailbox) -> None:
    mailbox.mail(letter("Zwei Lager für 24,68 €.\n", Subject="Bestätigung", Message_ID="<job-1@sipup>"))

    (shown,) = mailbox.arrivals()
    at = datetime.fromisoformat(shown.pop("at"))
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)
    assert shown.pop("number")
    assert shown == {
        "kind": "email",
        "id": "<job-1@sipup>",
        "seconds": None,
        "repeated": 0,
        "from": "shop@sipup.example",
        "to": "buyer@acme.example",
        "subject": "Bestätigung",
        "text": "Zwei Lager für 24,68 €.\n",
    }


def test_of_text_and_html_the_text_is_shown(mailbox: Mailbox) -> None:
    message = letter("The text.\n")
    message.add_alternative("<p>The page.</p>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="order.pdf")

    mailbox.mail(message)

    assert [each["text"] for each in mailbox.arrivals()] == ["The text.\n"]


def test_an_email_that_comes_again_is_counted_where_it_stands(mailbox: Mailbox) -> None:
    mailbox.mail(letter(Message_ID="<job-1@sipup>"), letter(), letter(Message_ID="<job-1@sipup>"), letter())

    assert [each["repeated"] for each in mailbox.arrivals()] == [0, 0, 1]
    assert mailbox.totals() == {"email": 3, "webhook": 0, "repeated": 1, "refused": 0}


ODD_MESSAGES = {
    "empty": b"",
    "no header": b"\r\nonly text",
    "eight bits": b"From: \xff\xfe\r\nSubject: \xe9t\xe9\r\n\r\n\xff\xfe",
    "unknown charset": b'Content-Type: text/plain; charset="klingon"\r\n\r\nQapla',
    "unreadable id": b"Message-ID: <\r\nTo: ,,;:\r\nFrom: =?x?q?=\r\n\r\ntext",
    "no text": b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA",
    "broken parts": b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nnever ended",
    "lone surrogate": b"Subject: =?utf-16?b?ANg=?=\r\n\r\ntext",
    "deep": b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n" * 1_500,
}


@pytest.mark.parametrize("message", ODD_MESSAGES.values(), ids=ODD_MESSAGES)
def test_an_odd_email_is_shown_too(mailbox: Mailbox, message: bytes) -> None:
    mailbox.mail_raw(message)

    (shown,) = mailbox.arrivals()
    assert all(isinstance(shown[name], str) for name in ("from", "to", "subject", "text"))


def test_an_email_without_names_shows_those_of_the_envelope(mailbox: Mailbox) -> None:
    mailbox.mail_raw(b"Subject: hello\r\n\r\ntext")

    (shown,) = mailbox.arrivals()
    assert (shown["from"], shown["to"]) == ("shop@sipup.example", "buyer@acme.example")


def test_an_email_above_a_mebibyte_is_refused_and_the_connection_lives_on(mailbox: Mailbox) -> None:
    with mailbox.connect() as smtp:
        with pytest.raises(smtplib.SMTPSenderRefused, match="552"):
            smtp.send_message(letter("x" * 70 + "\n" * (1 << 20)))
        smtp.send_message(letter())

    assert mailbox.totals()["email"] == 1


def test_a_long_text_is_cut(mailbox: Mailbox) -> None:
    mailbox.mail(letter("0123456789\n" * 10_000))

    (shown,) = mailbox.arrivals()
    assert len(shown["text"]) < 25_000
    assert shown["text"].endswith("…")


def test_a_webhook_of_ours_is_shown(mailbox: Mailbox) -> None:
    event = {"type": "order.placed", "data": {"order_id": 60001, "total": "24.68"}}

    reply = mailbox.call(event, name="msg_60001")

    assert reply.status_code == 204
    (shown,) = mailbox.arrivals()
    assert shown.pop("number")
    assert shown.pop("at")
    assert shown == {
        "kind": "webhook",
        "id": "msg_60001",
        "seconds": None,
        "repeated": 0,
        "supplier": 7,
        "type": "order.placed",
        "verified": True,
        "data": {"order_id": 60001, "total": "24.68"},
    }


def test_one_good_signature_among_several_is_enough(mailbox: Mailbox) -> None:
    reply = mailbox.call({"type": "x"}, before="v1a,b3RoZXI= v1,b2xk ")

    assert reply.status_code == 204


def test_a_webhook_that_comes_again_is_counted_where_it_stands(mailbox: Mailbox) -> None:
    replies = [mailbox.call({"type": "x"}, name=name) for name in ("msg_1", "msg_2", "msg_1", "msg_1")]

    assert {each.status_code for each in replies} == {204}
    assert [(each["id"], each["repeated"]) for each in mailbox.arrivals()] == [("msg_2", 0), ("msg_1", 2)]
    assert mailbox.totals() == {"email": 0, "webhook": 2, "repeated": 2, "refused": 0}


def ago(**since: float) -> datetime:
    return datetime.now(UTC) - timedelta(**since)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"secret": OTHER_SECRET}, "webhook-signature"),
        ({"at": ago(seconds=301)}, "webhook-timestamp"),
        ({"at": ago(days=-1)}, "webhook-timestamp"),
        ({"name": "two words"}, "webhook-id"),
        ({"name": "x" * 256}, "webhook-id"),
        ({"supplier": "seven"}, "id"),
    ],
)
def test_a_webhook_that_may_not_be_ours_is_refused(
    mailbox: Mailbox, given: dict[str, Any], field: str
) -> None:
    reply = mailbox.call({"type": "x"}, **given)

    assert (reply.status_code, faults(reply)) == (400, [field])
    assert mailbox.arrivals() == []
    assert mailbox.totals()["refused"] == 1


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_webhook_without_its_headers_is_refused(mailbox: Mailbox, header: str) -> None:
    headers = signed(b"{}")
    del headers[header]

    reply = mailbox.client.post("/suppliers/7", content=b"{}", headers=headers)

    assert (reply.status_code, faults(reply)) == (400, [header])


def test_a_body_that_was_changed_on_the_way_is_refused(mailbox: Mailbox) -> None:
    reply = mailbox.client.post("/suppliers/7", content=b'{"total": 1}', headers=signed(b'{"total": 2}'))

    assert (reply.status_code, faults(reply)) == (400, ["webhook-signature"])


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"'])
def test_a_webhook_that_is_no_object_is_refused(mailbox: Mailbox, body: bytes) -> None:
    reply = mailbox.call(body)

    assert (reply.status_code, faults(reply)) == (400, ["body"])


def test_a_webhook_above_64_kibibytes_is_refused(mailbox: Mailbox) -> None:
    fits, above = b'{"x":"%s"}' % (b"x" * 65_528), b'{"x":"%s"}' % (b"x" * 65_529)

    replies = mailbox.call(fits), mailbox.call(above, name="msg_2")

    assert [each.status_code for each in replies] == [204, 413]
    assert faults(replies[1]) == ["body"]


def test_the_time_since_the_order_is_told_where_it_is_known(mailbox: Mailbox) -> None:
    order = ago(seconds=30)
    mailbox.mail(letter(Timestamp=order.isoformat()))
    mailbox.call({"type": "x", "timestamp": order.isoformat(), "data": {}}, name="msg_1")
    mailbox.call({"type": "x", "data": {"timestamp": order.timestamp()}}, name="msg_2")
    mailbox.call({"type": "x", "timestamp": "yesterday", "data": {}}, name="msg_3")
    mailbox.call({"type": "x", "timestamp": ago(days=-1).isoformat(), "data": {}}, name="msg_4")

    seconds = [each["seconds"] for each in mailbox.arrivals()]

    assert seconds[:2] == [None, None]
    assert all(30 <= each < 60 for each in seconds[2:])


def test_what_looks_like_markup_stays_text(mailbox: Mailbox) -> None:
    mailbox.mail(letter(XSS, Subject=XSS))
    mailbox.call({"type": XSS, "data": {XSS: XSS}})

    reply = mailbox.client.get("/arrivals")

    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    webhook, mail = reply.json()["arrivals"]
    assert (webhook["type"], webhook["data"], mail["subject"]) == (XSS, {XSS: XSS}, XSS)


def test_the_page_runs_its_own_script_only_and_writes_text_only(mailbox: Mailbox) -> None:
    reply = mailbox.client.get("/")
    page, policy = reply.text, reply.headers["content-security-policy"]

    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert inside
        digest = b64encode(sha256(inside[1].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|DOMParser", page)
    assert not re.search(r"""\son\w+=|\sstyle=["']""", page)
    assert set(re.findall(r"""(?:src|href)=["']?(\w+://[^/"']+)""", page)) == {SHOP}


def test_the_page_says_how_to_make_something_arrive(mailbox: Mailbox) -> None:
    page = mailbox.client.get("/").text

    assert f"curl -i -X POST {SHOP}/orders" in page
    assert f'href="{SHOP}/"' in page
    assert not re.search("%[A-Z]+%", page)


def test_an_unchanged_list_is_not_sent_again(mailbox: Mailbox) -> None:
    known = {"if-none-match": mailbox.client.get("/arrivals").headers["etag"]}

    before = mailbox.client.get("/arrivals", headers=known)
    mailbox.mail(letter())
    after = mailbox.client.get("/arrivals", headers=known)

    assert (before.status_code, before.content) == (304, b"")
    assert (after.status_code, len(after.json()["arrivals"])) == (200, 1)


def test_emptied_it_takes_the_same_again(mailbox: Mailbox) -> None:
    mailbox.call({"type": "x"})

    mailbox.client.delete("/arrivals")

    assert mailbox.arrivals() == []
    assert mailbox.totals() == {"email": 0, "webhook": 0, "repeated": 0, "refused": 0}
    mailbox.call({"type": "x"})
    assert [each["repeated"] for each in mailbox.arrivals()] == [0]


def test_the_oldest_make_room_and_are_forgotten() -> None:
    arrivals = Arrivals(kept=2, clock=lambda: 0.0)
    for name in ("a", "b", None, "c", "a"):
        arrivals.add("email", name, since=None, shown={})

    document: Any = arrivals.document()

    assert [each["id"] for each in document["arrivals"]] == ["a", "c"]
    assert document["arrivals"][0]["repeated"] == 0
    assert document["totals"]["email"] == 5


def test_a_timestamp_may_be_five_minutes_off() -> None:
    headers = signed(b"{}", at=datetime.fromtimestamp(1_000_000, UTC))
    secret = Secret.read(SECRET)

    assert secret.check(headers, b"{}", now=1_000_300) == secret.check(headers, b"{}", now=999_700) == "msg_1"
    for now in (1_000_301, 999_699):
        with pytest.raises(Refused):
            secret.check(headers, b"{}", now=now)


def test_a_secret_does_not_show_itself() -> None:
    assert repr(Secret.read(SECRET)) == "Secret()"
    assert Secret.read(SECRET.rstrip("=")) == Secret.read(SECRET)


@pytest.mark.parametrize(
    "text", ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64!", "whsec_é"]
)
def test_without_a_secret_it_does_not_start(text: str) -> None:
    with launched(SIPUP_WEBHOOK_SECRET=text) as mailbox:
        output, _ = mailbox.process.communicate(timeout=30)

    assert mailbox.process.returncode == 1
    assert output == "Error: SIPUP_WEBHOOK_SECRET must be whsec_ and base64\n"


def test_a_descriptor_that_is_no_socket_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo_app.mailbox", "--http-fd=0", "--smtp-fd=0"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert "'--http-fd': must be the file descriptor of a socket" in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_ends_in_silence_whoever_is_connected(ending: signal.Signals) -> None:
    with launched() as mailbox, closing(mailbox.connect()) as smtp:
        smtp.ehlo()
        assert mailbox.client.get("/arrivals").status_code == 200  # and its connection stays open

        mailbox.process.send_signal(ending)
        output, _ = mailbox.process.communicate(timeout=30)

    assert (mailbox.process.returncode, output) == (0, "")


OWNER = """
import os, socket, subprocess, sys, urllib.request
http, smtp = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
options = [f"--http-fd={http.fileno()}", f"--smtp-fd={smtp.fileno()}", f"--owner={os.getpid()}"]
subprocess.Popen(
    [sys.executable, "-m", "demo_app.mailbox", *options], pass_fds=(http.fileno(), smtp.fileno())
)
with urllib.request.urlopen(f"http://127.0.0.1:{http.getsockname()[1]}/arrivals") as answer:
    print(answer.status, flush=True)
os.kill(os.getpid(), 9)
"""


def test_it_ends_with_its_owner() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=ROOT,
        env={**os.environ, "SIPUP_WEBHOOK_SECRET": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = owner.communicate(timeout=30)  # until the mailbox has closed it too
    finally:
        with suppress(ProcessLookupError):  # all of its session has ended
            os.killpg(owner.pid, signal.SIGKILL)
        owner.communicate()

    assert (owner.returncode, output) == (-signal.SIGKILL, "200\n")
