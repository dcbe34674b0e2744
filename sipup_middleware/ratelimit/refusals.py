"""The answers to requests that are refused, built once."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Receive, Scope, Send

from sipup_middleware.asgi import Problem
from sipup_middleware.context import request_id
from sipup_middleware.ratelimit.unread import is_unread, reading

__all__ = (
    "ABNORMAL_USAGE",
    "FORBIDDEN",
    "NOBODY_COUNTS",
    "QUOTA_EXCEEDED",
    "REDUCED_CAPACITY",
    "refuse",
)

_TYPES = "https://iana.org/assignments/http-problem-types#"

QUOTA_EXCEEDED = Problem(
    status=429,
    title="Too Many Requests",
    type=f"{_TYPES}quota-exceeded",
    detail="The quota for these requests is used up; retry after the time given.",
)
ABNORMAL_USAGE = Problem(
    status=429,
    title="Too Many Requests",
    type=f"{_TYPES}abnormal-usage-detected",
    detail="Too many requests were refused; nothing is served until the time given.",
)
REDUCED_CAPACITY = Problem(
    status=503,
    title="Service Unavailable",
    type=f"{_TYPES}temporary-reduced-capacity",
    detail="There is more to do than can be done at once; retry after the time given.",
    headers=((b"retry-after", b"1"),),
)
NOBODY_COUNTS = Problem(status=503, title="Service Unavailable", headers=((b"retry-after", b"1"),))
FORBIDDEN = Problem(status=403, title="Forbidden", detail="Requests from this network are not served.")

_POLICY_VIOLATION, _TRY_AGAIN_LATER = 1008, 1013
"""RFC 6455, section 7.4.1, and IANA's registry of websocket close codes."""

_RESPONSE = "websocket.http.response"


async def refuse(
    problem: Problem,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    extra: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Answer with *problem*; a websocket's handshake too, where the server lets us, else it is closed."""
    instance = scope["sipup"].request_id if "sipup" in scope else request_id(scope)
    start, body = problem.messages(scope, instance=instance, extra=extra)
    if scope["type"] == "http":
        if is_unread(scope):
            send = reading(receive, send)
        await send(start)
        return await send(body)
    await receive()  # the handshake that is refused
    if _RESPONSE not in (scope.get("extensions") or {}):
        code = _POLICY_VIOLATION if problem is FORBIDDEN else _TRY_AGAIN_LATER
        return await send({"type": "websocket.close", "code": code, "reason": problem.title})
    await send({**start, "type": f"{_RESPONSE}.start"})
    return await send({**body, "type": f"{_RESPONSE}.body"})
