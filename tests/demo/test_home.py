"""The page that lists what there is: self-contained, true, and safe."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html import unescape

import pytest

from demo_app import create_app
from sipup_middleware import Settings
from tests.asgi import Exchange, get, http_scope
from tests.demo.conftest import Client


async def test_every_link_on_it_leads_somewhere(shop: Client) -> None:
    page = (await shop.get("/")).body.decode()

    links = {unescape(link) for link in re.findall(r'<a href="([^"]+)"', page)}
    statuses = {link: (await shop.get(link)).status for link in links - {"/_health/metrics"}}

    assert len(links) > 10
    refused = {"/products?sort=cheap&page=0&colour=red": 400, "/products/20001": 404}
    assert statuses == {link: refused.get(link, 200) for link in statuses}


async def test_nothing_comes_from_elsewhere_and_only_its_own_script_runs(shop: Client) -> None:
    reply = await shop.get("/")
    page, policy = reply.body.decode(), reply.headers["content-security-policy"]

    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert inside
        digest = b64encode(sha256(inside[1].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"""(src|href|action)=["']?(https?:)?//""", page)
    assert not re.search(r"""\son\w+=|\sstyle=["']""", page)


async def test_command_lines_name_the_host_that_was_asked(shop: Client) -> None:
    page = (await shop.get("/")).body.decode()

    assert "curl -i http://testserver/products/1<" in page
    assert "%BASE%" not in page
    assert "%KEY%" not in page


async def test_a_made_up_host_is_not_repeated(shop: Client) -> None:
    for host in ("x<script>", "$(reboot)", "a b", "'", ""):
        scope, exchange = http_scope("/", client=shop.address), Exchange()
        scope["headers"] = [(b"host", host.encode())]

        await shop.app(scope, exchange.receive, exchange.send)

        assert "curl -i http://127.0.0.1:8000/products/1<" in exchange.body.decode()


async def test_a_key_of_ones_own_is_not_shown(
    demo_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_API_KEY", "s3cret")
    app = create_app(Settings(database_url=demo_url, redis_url=redis_url))

    page = (await get(app, "/", client="10.99.99.98")).body.decode()

    assert "s3cret" not in page
    assert "X-API-Key: $DEMO_API_KEY" in page
