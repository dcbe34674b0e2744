"""``GET /``: what there is to try; nothing comes from elsewhere, and only the page's own script may run."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from demo_app.keys import ApiKey

__all__ = ("home_page",)

_HOST = re.compile(r"[\w.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?", re.ASCII)
_FALLBACK = "127.0.0.1:8000"


def home_page(key: ApiKey) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of the page, whose command lines name the host that it was asked from."""
    page = Path(__file__).with_name("home.html").read_text("utf-8").replace("%KEY%", escape(key.shown))
    headers = {
        "cache-control": "no-cache",
        "content-security-policy": _policy(page),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }

    async def home(request: Request) -> Response:
        host = request.headers.get("host", "")
        base = f"{request.url.scheme}://{host if _HOST.fullmatch(host) else _FALLBACK}"
        return HTMLResponse(page.replace("%BASE%", escape(base)), headers=headers)

    return home


def _policy(page: str) -> str:
    """Return the policy that names the page's style and its script by their digests."""
    policy = {
        "default-src": "'none'",
        "style-src": _digest(page, "style"),
        "script-src": _digest(page, "script"),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {source}" for name, source in policy.items())


def _digest(page: str, tag: str) -> str:
    inside = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"'sha256-{b64encode(sha256(inside.encode()).digest()).decode()}'"
