"""The page that lists what there is: self-contained, true, and safe."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import unescape
from typing import Any

import pytest

from demo_app import create_app
from demo_app.keys import DEFAULT_KEY
from sipup_middleware import Database, PoolConfig, Settings
from tests.asgi import Exchange, get, http_scope
from tests.demo.conftest import Client
from tests.demo.test_live import connected

CARD = re.compile(
    r'<li class="card[^"]*" data-send="(?P<method>[A-Z]+) (?P<target>[^"]+)"'
    r"(?: data-body='(?P<body>[^']+)')?(?P<keyed> data-keyed)?>"
    r".*?<pre><code>(?P<command>.*?)</code></pre></li>",
    re.DOTALL,
)


def cards(page: str) -> list[dict[str, Any]]:
    """Return what each Send button sends, and the command line above it."""
    return [
        {name: value and unescape(value) for name, value in each.groupdict().items()}
        for each in CARD.finditer(page)
    ]


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


async def test_a_button_sends_what_the_command_line_above_it_does(shop: Client) -> None:
    page = (await shop.get("/")).body.decode()

    shown = cards(page)

    assert len(shown) == page.count(" data-send=") == 22
    for card in shown:
        command, scheme = card["command"], "ws" if card["method"] == "WS" else "http"
        body = re.search(r"(?:-d|echo) '(.*?)'", command)
        assert f"{scheme}://testserver{card['target']}" in command
        assert (f" -X {card['method']} " in command) == (card["method"] not in {"GET", "WS"})
        assert (body and body[1]) == (card["body"] and card["body"].replace("*", "12.34"))
        assert (f"X-API-Key: {DEFAULT_KEY}" in command) == bool(card["keyed"])


async def test_what_it_offers_to_post_is_answered_as_it_says(
    shop: Client, product: Mapping[str, Any]
) -> None:
    answers = []

    for card in cards((await shop.get("/")).body.decode()):
        if card["method"] == "POST":
            body = card["body"].replace('"product_id": 1,', f'"product_id": {product["id"]},')
            key = DEFAULT_KEY if card["keyed"] else None
            answers.append((card["target"], (await shop.post(card["target"], body.encode(), key=key)).status))

    assert answers == [("/orders", 201), ("/orders", 409), ("/inquiries", 201), ("/login", 200)]


async def test_there_is_of_the_product_what_it_says(demo_url: str) -> None:
    async with Database(demo_url, pool=PoolConfig(min=0, max=1)).open() as db:
        product = await db.fetchrow("SELECT stock, min_quantity, discontinued FROM products WHERE id = 1")

    assert product is not None
    assert dict(product) == {"stock": 195, "min_quantity": 1, "discontinued": False}


async def test_what_it_asks_the_socket_is_answered(shop: Client) -> None:
    (card,) = (each for each in cards((await shop.get("/")).body.decode()) if each["method"] == "WS")

    async with connected(shop) as socket:
        answer = await socket.ask(card["body"])

    assert answer["id"] == 1


async def test_its_live_numbers_are_among_the_metrics(shop: Client) -> None:
    page = (await shop.get("/")).body.decode()
    metrics = (await get(shop.app, "/_health/metrics", client="127.0.0.1")).json()

    assert set(re.findall(r'data-of="(\w+)"', page)) == set(re.findall(r'show\("(\w+)"', page))
    assert metrics.keys() >= {"http", "cache", "db", "ratelimit", "jobs"}
    assert all("queued" in queue for queue in metrics["jobs"]["queues"].values())


async def test_it_leads_to_the_mailbox(demo_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://127.0.0.1:9000", "http://127.0.0.1:9000/", "https://[::1]:9000"):
        monkeypatch.setenv("DEMO_WEBHOOK_URL", url)

        page = await home(demo_url)

        assert f'delivers both to <a href="{url.rstrip("/")}/">the mailbox</a>;' in page


async def test_where_there_is_no_mailbox_nothing_leads_there(
    demo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = ("", "javascript:alert(1)", "//elsewhere", "http:", "http://[", "http://me:s3cret@127.0.0.1")
    for url in strange:
        monkeypatch.setenv("DEMO_WEBHOOK_URL", url)

        page = await home(demo_url)

        assert "delivers both to the mailbox;" in page
        assert "s3cret" not in page


async def test_the_mailbox_s_url_stays_in_its_attribute(
    demo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_WEBHOOK_URL", 'http://127.0.0.1/"><script>')

    page = await home(demo_url)

    assert 'href="http://127.0.0.1/&quot;&gt;&lt;script&gt;/"' in page


async def test_without_the_stack_it_says_so_and_offers_nothing_of_it(demo_url: str) -> None:
    whole, bare = await home(demo_url), await home(demo_url, bare=True)

    assert '<html lang="en" class="whole"' in whole
    assert '<html lang="en" class="bare"' in bare
    assert re.search('class="[^"]*if-bare"><b>This is the same app without the stack', bare)
    for tag in re.findall(r'<[^>]+(?:href|data-send)="(?:GET )?/_health[^>]*>', bare):
        line = next(line for line in bare.splitlines() if tag in line)
        assert "if-whole" in line


async def home(url: str, *, bare: bool = False) -> str:
    app = create_app(Settings(database_url=url), bare=bare)
    return (await get(app, "/", client="10.99.99.97")).body.decode()
