"""The HTTP side: webhooks in, and the page that shows what arrived."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from demo_app.home import content_policy
from demo_app.keys import ApiKey
from demo_app.mailbox.arrivals import Arrivals
from demo_app.mailbox.signature import Secret
from demo_app.problems import Refused
from demo_app.reading import path_id, read_body
from demo_app.replies import JSON

__all__ = ("routes",)

_LARGEST_BODY = 64 << 10
_SHOP = "http://127.0.0.1:8000"


def routes(arrivals: Arrivals, secret: Secret) -> list[Route]:
    """Return the page, what it shows, and where suppliers take their webhooks."""

    async def webhook(request: Request) -> Response:
        try:
            supplier, body = path_id(request), await read_body(request, _LARGEST_BODY)
            name = secret.check(request.headers, body, now=time.time())
            event = _event(body)
        except Refused:
            arrivals.refuse()
            raise
        data = event.get("data", event)
        since = event.get("timestamp") or (data.get("timestamp") if isinstance(data, dict) else None)
        shown = {"supplier": supplier, "type": event.get("type"), "verified": True, "data": data}
        arrivals.add("webhook", name, since=since, shown=shown)
        return Response(status_code=204)

    async def listed(request: Request) -> Response:
        headers = {"cache-control": "no-cache", "etag": f'"{arrivals.version}"'}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return JSON(arrivals.document(), headers={**headers, "x-content-type-options": "nosniff"})

    async def emptied(request: Request) -> Response:  # noqa: ARG001 (the handler's signature)
        arrivals.clear()
        return Response(status_code=204)

    return [
        Route("/", _page()),
        Route("/arrivals", listed),
        Route("/arrivals", emptied, methods=["DELETE"]),
        Route("/suppliers/{id}", webhook, methods=["POST"]),
    ]


def _page() -> Callable[[Request], Awaitable[Response]]:
    html = Path(__file__).with_name("page.html").read_text("utf-8")
    shop = os.environ.get("DEMO_URL", "").rstrip("/")
    said = {
        "%SHOP%": shop if shop.startswith(("http://", "https://")) else _SHOP,
        "%KEY%": ApiKey.from_environ().shown,
    }
    for name, value in said.items():
        html = html.replace(name, escape(value))
    headers = {
        "cache-control": "no-cache",
        "content-security-policy": content_policy(html),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }

    async def page(request: Request) -> Response:  # noqa: ARG001 (the handler's signature)
        return HTMLResponse(html, headers=headers)

    return page


def _event(body: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        event = None
    if not isinstance(event, dict):
        raise Refused(400, {"body": "must be a JSON object"})
    return event
