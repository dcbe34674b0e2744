"""``GET /``: what there is to try; nothing comes from elsewhere, and only the page's own script may run."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from demo_app.keys import ApiKey

__all__ = ("content_policy", "home_page")

_HOST = re.compile(r"[\w.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?", re.ASCII)
_FALLBACK = "127.0.0.1:8000"


def home_page(key: ApiKey, *, bare: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of the page, whose command lines name the host that it was asked from.

    *bare*: it says that the stack is left out. ``DEMO_WEBHOOK_URL`` is where the mailbox is.
    """
    page = Path(__file__).with_name("home.html").read_text("utf-8")
    said = {
        "%KEY%": escape(key.shown),
        "%MAILBOX%": _mailbox(os.environ.get("DEMO_WEBHOOK_URL", "")),
        "%MODE%": "bare" if bare else "whole",
    }
    for name, value in said.items():
        page = page.replace(name, value)
    headers = {
        "cache-control": "no-cache",
        "content-security-policy": content_policy(page),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }

    async def home(request: Request) -> Response:
        host = request.headers.get("host", "")
        base = f"{request.url.scheme}://{host if _HOST.fullmatch(host) else _FALLBACK}"
        sockets = base.replace("http", "ws", 1)
        return HTMLResponse(
            page.replace("%BASE%", escape(base)).replace("%SOCKETS%", escape(sockets)), headers=headers
        )

    return home


def content_policy(page: str) -> str:
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


def _mailbox(url: str) -> str:
    """Return its name, a link where *url* is one that a stranger may follow and see."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        return "the mailbox"
    return f'<a href="{escape(url.rstrip("/"))}/">the mailbox</a>'


def _digest(page: str, tag: str) -> str:
    inside = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"'sha256-{b64encode(sha256(inside.encode()).digest()).decode()}'"
