"""``webhook.deliver`` against a real endpoint: what it gets, where it may be, and what its answers do."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import sys
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook

from sipup_middleware import ConfigurationError, MissingExtra
from sipup_middleware.jobs.catalog import webhook
from sipup_middleware.jobs.running import Discard, JobContext, Retry
from tests.jobs.catalog.conftest import Certificate
from tests.jobs.catalog.endpoint import LOOPBACK, SECRET, endpoint, listening

EVENT = {"type": "order.placed", "data": {"id": 7, "total": 12.5, "name": "Grüße"}}


def resolver(*addresses: str) -> Any:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


def first_bytes(listener: socket.socket, tls: ssl.SSLContext) -> bytes:
    """Return what a client says that was shown our certificate."""
    listener.settimeout(10)
    with listener.accept()[0] as link:
        try:
            with tls.wrap_socket(link, server_side=True) as encrypted:
                return encrypted.recv(1024)
        except OSError:
            return b""


async def test_what_arrives_is_verified_by_the_standards_own_library(ctx: JobContext) -> None:
    async with endpoint() as hook:
        result = await webhook(SECRET, allow=LOOPBACK)(ctx, url=hook.url, event=EVENT)

    assert result == {"status": 204}
    assert Webhook(SECRET).verify(hook.bodies[0], hook.heads[0]) == EVENT
    assert hook.lines == ["POST /hook HTTP/1.1"]
    assert hook.heads[0]["webhook-id"] == "0f6b7c1e"
    assert hook.heads[0]["content-type"] == "application/json"
    assert hook.heads[0]["user-agent"] == "sipup-middleware"
    assert hook.heads[0]["host"] == f"127.0.0.1:{hook.port}"


async def test_each_attempt_sends_the_same_bytes_and_id_with_a_time_of_its_own() -> None:
    now = iter([1000.9, 1000.9, 2000.1, 2000.1])
    task = webhook(SECRET, allow=LOOPBACK, clock=lambda: next(now))

    async with endpoint("500 Oops", "200 OK") as hook:
        with pytest.raises(Retry):
            await task(JobContext(id="a", name="", attempt=1), url=hook.url, event={"b": 1, "a": [2]})
        await task(JobContext(id="a", name="", attempt=2), url=hook.url, event={"a": [2], "b": 1})

    assert hook.bodies == [b'{"a":[2],"b":1}'] * 2
    assert [each["webhook-id"] for each in hook.heads] == ["a", "a"]
    assert [each["webhook-timestamp"] for each in hook.heads] == ["1000", "2000"]
    assert len({each["webhook-signature"] for each in hook.heads}) == 2


async def test_a_key_that_no_header_can_hold_is_escaped() -> None:
    async with endpoint() as hook:
        await webhook(SECRET, allow=LOOPBACK)(
            JobContext(id="order:7\r\nü 100%", name=""), url=hook.url, event=[]
        )

    assert hook.heads[0]["webhook-id"] == "order:7%0D%0A%C3%BC%20100%"
    Webhook(SECRET).verify(hook.bodies[0], hook.heads[0])


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        ("410 Gone", "Discard the endpoint is gone"),
        ("404 Not Found", "Discard the endpoint answered 404"),
        ("301 Moved\r\nLocation: /elsewhere", "Discard the endpoint answered 301"),
        ("307 Later\r\nLocation: http://169.254.169.254/", "Discard the endpoint answered 307"),
        ("408 Timeout", "Retry the endpoint answered 408"),
        ("502 Bad Gateway", "Retry the endpoint answered 502"),
    ],
)
async def test_an_answer_decides_whether_it_is_sent_again(answer: str, fate: str, ctx: JobContext) -> None:
    async with endpoint(answer) as hook:
        with pytest.raises((Retry, Discard)) as raised:
            await webhook(SECRET, allow=LOOPBACK)(ctx, url=hook.url, event=EVENT)

    assert f"{type(raised.value).__name__} {raised.value}" == fate
    assert len(hook.lines) == 1


@pytest.mark.parametrize("answer", ["429 Too Many Requests", "503 Unavailable"])
async def test_who_says_when_is_asked_again_then(answer: str, ctx: JobContext) -> None:
    async with endpoint(f"{answer}\r\nRetry-After: 120") as hook:
        with pytest.raises(Retry) as raised:
            await webhook(SECRET, allow=LOOPBACK)(ctx, url=hook.url, event=EVENT)

    assert raised.value.after == 120


async def test_the_body_of_the_answer_is_not_waited_for(ctx: JobContext) -> None:
    async with endpoint("200 OK\r\nContent-Length: 1000000000000") as hook:
        result = await webhook(SECRET, allow=LOOPBACK)(ctx, url=hook.url, event=EVENT)

    assert result == {"status": 200}


async def test_a_name_is_connected_to_at_the_address_that_was_looked_at(
    trusted: Certificate, ctx: JobContext
) -> None:
    asked = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    async with endpoint(tls=trusted.server_side()) as hook:
        url = f"https://Hooks.example:{hook.port}/a%2Fb;c?q=1&r=%20"
        await webhook(SECRET, allow=LOOPBACK, resolve=resolve)(ctx, url=url, event=EVENT)

    assert asked == [("hooks.example", hook.port)]
    assert hook.heads[0]["host"] == f"hooks.example:{hook.port}"
    assert hook.lines == ["POST /a%2Fb;c?q=1&r=%20 HTTP/1.1"]


async def test_a_certificate_of_another_name_stops_it(trusted: Certificate, ctx: JobContext) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        said = asyncio.create_task(asyncio.to_thread(first_bytes, listener, trusted.server_side()))
        with pytest.raises(Retry, match=r"^the endpoint took no connection \(its certificate\)$"):
            await webhook(SECRET, allow=LOOPBACK, resolve=resolver("127.0.0.1"))(
                ctx, url=f"https://other.example:{port}", event=EVENT
            )

        assert await said == b""


async def test_a_second_address_is_tried_where_the_first_takes_no_connection(ctx: JobContext) -> None:
    async with endpoint() as hook:
        result = await webhook(SECRET, allow=LOOPBACK, resolve=resolver("127.0.0.2", "127.0.0.1"))(
            ctx, url=f"http://hooks.example:{hook.port}", event=EVENT
        )

    assert result == {"status": 204}


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::a00:1"],
        ["2002:a00:1::"],
        ["93.184.216.34", "192.168.0.1"],
    ],
)
async def test_a_name_that_leads_inside_is_refused_for_good(addresses: list[str], ctx: JobContext) -> None:
    with pytest.raises(Discard, match=r"^url: must lead to a public address$"):
        await webhook(SECRET, resolve=resolver(*addresses))(ctx, url="http://hooks.example", event=EVENT)


async def test_the_systems_own_resolver_is_asked(ctx: JobContext) -> None:
    with pytest.raises(Discard, match="public address"):
        await webhook(SECRET)(ctx, url="http://localhost:9/", event=EVENT)


async def test_a_name_that_nobody_knows_is_tried_again(ctx: JobContext) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise OSError(f"{host} not known")

    with pytest.raises(Retry, match=r"^url: its host cannot be resolved$"):
        await webhook(SECRET, resolve=resolve)(ctx, url="http://hooks.example", event=EVENT)


async def test_an_endpoint_that_is_away_is_tried_again(unused_port: int, ctx: JobContext) -> None:
    with pytest.raises(Retry, match=r"^the endpoint took no connection \(ConnectError\)$") as raised:
        await webhook(SECRET, allow=LOOPBACK)(ctx, url=f"http://127.0.0.1:{unused_port}", event=EVENT)

    assert raised.value.__cause__ is None


async def test_an_endpoint_that_says_nothing_is_tried_again(ctx: JobContext) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    async with listening(silent) as port:
        with pytest.raises(Retry, match=r"^the endpoint did not answer \(ReadTimeout\)$"):
            await webhook(SECRET, allow=LOOPBACK, timeout=0.2)(
                ctx, url=f"http://127.0.0.1:{port}", event=EVENT
            )


async def test_no_proxy_of_the_environment_is_heeded(
    ctx: JobContext, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{unused_port}")

    async with endpoint() as hook:
        assert await webhook(SECRET, allow=LOOPBACK)(ctx, url=hook.url, event=EVENT) == {"status": 204}


async def test_the_url_is_not_logged(ctx: JobContext, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async with endpoint() as hook:
        await webhook(SECRET, allow=LOOPBACK)(ctx, url=f"{hook.url}?token=hunter2", event=EVENT)

    assert "hunter2" not in caplog.text


async def test_each_endpoint_may_have_a_secret_of_its_own(ctx: JobContext) -> None:
    async with endpoint() as hook:
        secrets = {hook.url: SECRET}
        await webhook(secrets.__getitem__, allow=LOOPBACK)(ctx, url=hook.url, event=EVENT)

    assert Webhook(SECRET).verify(hook.bodies[0], hook.heads[0])


async def test_without_a_secret_the_environments_is_used(
    ctx: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = webhook(allow=LOOPBACK)
    monkeypatch.setenv("SIPUP_WEBHOOK_SECRET", SECRET)

    async with endpoint() as hook:
        await task(ctx, url=hook.url, event=EVENT)

    assert Webhook(SECRET).verify(hook.bodies[0], hook.heads[0])


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [
        ("", "SIPUP_WEBHOOK_SECRET is not set, and webhook() was given no secret"),
        ("hunter2!", "SIPUP_WEBHOOK_SECRET, must be whsec_ and base64"),
    ],
)
async def test_a_worker_whose_environment_does_not_do_says_which_variable(
    secret: str, complaint: str, ctx: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIPUP_WEBHOOK_SECRET", secret)

    with pytest.raises(Discard, match=re.escape(complaint)) as raised:
        await webhook()(ctx, url="http://93.184.216.34", event=EVENT)

    assert "hunter2" not in str(raised.value)


async def test_a_payload_that_was_never_examined_is_final(ctx: JobContext) -> None:
    with pytest.raises(Discard, match=r"^url: must lead to a public address$"):
        await webhook(SECRET)(ctx, url="http://10.0.0.1", event=EVENT)


async def test_without_its_library_the_job_names_the_extra(
    ctx: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sipup_middleware.jobs.catalog.posting", raising=False)
    monkeypatch.setitem(sys.modules, "httpx", None)

    with pytest.raises(MissingExtra, match=r"sipup-middleware\[jobs\]"):
        await webhook(SECRET)(ctx, url="http://93.184.216.34", event=EVENT)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ({"url": "ftp://hooks.example", "event": {}}, "url: must be http://"),
        ({"url": "https://app:hunter2@hooks.example", "event": {}}, "url: must be http://"),
        ({"url": "http://10.0.0.1/hunter2", "event": {}}, "url: must lead to a public address"),
        ({"url": "http://[::ffff:127.0.0.1]/", "event": {}}, "url: must lead to a public address"),
        ({"url": "http://0x7f.1/", "event": {}}, "url: must lead to a public address"),
        ({"url": 7, "event": {}}, "url: must be http://"),
        ({"url": "http://hooks.example", "event": "hunter2"}, "event: must be an object or a list"),
        ({"url": "http://hooks.example"}, "lacks event"),
    ],
)
def test_what_cannot_be_sent_is_refused_as_it_is_enqueued(payload: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(complaint)) as raised:
        webhook(SECRET).examine(payload)

    assert "hunter2" not in str(raised.value)


def test_an_address_that_is_allowed_may_be_enqueued() -> None:
    webhook(SECRET, allow=["10.0.0.0/8"]).examine({"url": "http://10.0.0.1/", "event": orjson.loads("[]")})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"secret": "hunter2!"}, "webhook.secret: must be whsec_ and base64"),
        ({"secret": "whsec_"}, "webhook.secret: must be whsec_ and base64"),
        (
            {"allow": ["10.0.0.1/8"]},
            "webhook.allow must hold networks like 10.1.0.0/16: 10.0.0.1/8 has host bits",
        ),
        ({"allow": "10.0.0.0/8"}, "webhook.allow must be a sequence of networks, not one string"),
        ({"timeout": 0}, "timeout must be above 0"),
    ],
)
def test_a_wrong_option_is_named_at_once(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(complaint)) as raised:
        webhook(**options)

    assert "hunter2" not in str(raised.value)


def test_the_task_is_urgent_and_does_not_show_the_secret() -> None:
    task = webhook(SECRET)

    assert (task.name, task.priority, task.timeout) == ("webhook.deliver", "high", 15)
    assert SECRET.removeprefix("whsec_") not in repr(task)
