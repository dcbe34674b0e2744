"""What a websocket's handshake is answered with says of its client what any response does."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from sipup_middleware import Limit, by_ip
from sipup_middleware.ratelimit import Backoff
from sipup_middleware.ratelimit.sockets import status_of
from sipup_middleware.telemetry import ClientBanned
from tests.ratelimit.doubles import Wrapped, wrap
from tests.ratelimit.test_sockets import talk

ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close", "code": 1000}
DENIAL: tuple[Message, ...] = (
    {"type": "websocket.http.response.start", "status": 401, "headers": []},
    {"type": "websocket.http.response.body"},
)


class Doorman:
    """Answers every handshake alike."""

    def __init__(self, *answer: Message) -> None:
        self.answer = answer
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await receive()
        if not self.answer:
            raise LookupError
        for message in self.answer:
            await send(message)


def guarded(*answer: Message, **options: Any) -> tuple[Wrapped, Doorman]:
    app = Doorman(*answer)
    failing = Limit("2/minute", key=by_ip, name="failing", count_when=lambda status: status >= 400, **options)
    return wrap(app, failing), app


async def knock(wrapped: Wrapped, times: int) -> list[Message]:
    """What each handshake is answered with first."""
    answers = []
    for _ in range(times):
        try:
            answers.append((await talk(wrapped))[0])
        except LookupError:
            answers.append({})
    return answers


@pytest.mark.parametrize("answer", [(CLOSE,), DENIAL, ()], ids=["closed", "denied", "failed"])
@pytest.mark.parametrize("messages", [None, "9/second"])
async def test_a_handshake_that_the_app_refuses_counts(answer: tuple[Message, ...], messages: Any) -> None:
    wrapped, app = guarded(*answer, messages=messages)

    seen = await knock(wrapped, 4)

    assert seen[:2] == [answer[0] if answer else {}] * 2
    assert [each["code"] for each in seen[2:]] == [1013] * 2
    assert app.asked == 2


@pytest.mark.parametrize("answer", [(ACCEPT,), (ACCEPT, CLOSE)], ids=["accepted", "closed later"])
async def test_one_that_it_accepts_does_not_however_the_socket_ends(answer: tuple[Message, ...]) -> None:
    wrapped, app = guarded(*answer)

    assert await knock(wrapped, 9) == [ACCEPT] * 9
    assert app.asked == 9


async def test_a_refused_handshake_is_held_against_its_client() -> None:
    app = Doorman(CLOSE)
    backoff = Backoff(after=1, base=8, jitter=0, strike_on={403})
    wrapped = wrap(app, Limit("99/minute", key=by_ip), backoff=backoff)

    await knock(wrapped, 5)

    assert app.asked == 2
    assert [fact.seconds for fact in wrapped.facts if isinstance(fact, ClientBanned)] == [8]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (ACCEPT, 101),
        (CLOSE, 403),
        (DENIAL[0], 401),
        (DENIAL[1], None),
        ({"type": "websocket.send", "text": "x"}, None),
        ({"type": "http.response.start", "status": 204}, 204),
        ({"type": "http.response.body"}, None),
    ],
)
def test_the_status_is_what_a_server_answers(message: Message, status: int | None) -> None:
    assert status_of(message) == status
