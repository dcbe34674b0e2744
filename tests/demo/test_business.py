"""The demo's whole business as a user sees it: orders, what is delivered, and Valkey killed meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from websockets.sync.client import connect

from tests.demo.test_command import KEY, Demo, eventually, launched

pytestmark = pytest.mark.live
ADDRESSES = count(1)
ORDER = {"product_id": 1, "quantity": 1}
READS = [
    "/",
    "/products",
    "/products/7",
    "/products?category=drives&sort=price",
    "/suppliers/7",
    "/categories",
    "/reports/sales?month=2026-05",
    "/stream?category=drives",
]


@pytest.fixture(scope="module", params=["postgres", "valkey"])
def demo(request: pytest.FixtureRequest) -> Iterator[Demo]:
    with launched("--port", "0", "--queue", request.param) as running:
        yield running


@pytest.fixture(scope="module")
def bare() -> Iterator[Demo]:
    with launched("--port", "0", "--bare") as running:
        yield running


def new_client(demo: Demo) -> httpx2.Client:
    """Return a client whom the limits do not know yet."""
    number = next(ADDRESSES)
    return demo.client(f"127.0.{1 + number // 250}.{1 + number % 250}")


def arrived(demo: Demo) -> list[dict[str, Any]]:
    url = next(line.split()[1] for line in demo.said if line.startswith("  Arrivals"))
    found: list[dict[str, Any]] = httpx2.get(f"{url}arrivals").json()["arrivals"]
    return found


def delivered(demo: Demo, order: dict[str, Any]) -> bool:
    """Say whether the buyer's e-mail and the supplier's verified webhook are there."""
    ids = {each["id"] for each in arrived(demo) if each.get("verified", True)}
    return {f"<{order['jobs']['confirmation']}@sipup.example>", order["jobs"]["webhook"]} <= ids


def order_count(demo: Demo) -> int:
    with new_client(demo) as client:
        return int(client.get("/me/orders", headers=KEY).json()["total"])


def test_an_order_is_taken_and_its_messages_arrive(demo: Demo) -> None:
    with new_client(demo) as client:
        reply = client.post("/orders", json=ORDER, headers=KEY)

    assert reply.status_code == 201
    assert eventually(lambda: delivered(demo, reply.json()))
    assert [each["repeated"] for each in arrived(demo)] == [0] * len(arrived(demo))


def test_a_refused_order_delivers_nothing(demo: Demo) -> None:
    before = order_count(demo)
    with new_client(demo) as client:
        refused = client.post("/orders", json={"product_id": 1, "quantity": 1_000_000}, headers=KEY)
        sentinel = client.post("/orders", json=ORDER, headers=KEY).json()

    assert refused.status_code == 409
    assert eventually(lambda: delivered(demo, sentinel))
    orders = {each["data"]["order_id"] for each in arrived(demo) if each["kind"] == "webhook"}
    assert max(orders) == sentinel["id"]
    assert order_count(demo) == before + 1


def test_an_inquiry_reaches_the_supplier(demo: Demo) -> None:
    asked = {"product_id": 2, "quantity": 500, "message": "What is your lead time?"}
    with new_client(demo) as client:
        reply = client.post("/inquiries", json=asked, headers=KEY)

    assert reply.status_code == 201
    mail = f"<{reply.json()['jobs']['notification']}@sipup.example>"
    assert eventually(lambda: mail in {each["id"] for each in arrived(demo)})


def test_health_tells_of_the_worker_and_what_it_did(demo: Demo) -> None:
    with new_client(demo) as client:
        order = client.post("/orders", json=ORDER, headers=KEY).json()
        assert eventually(lambda: delivered(demo, order))

        def told() -> bool:
            jobs = client.get("/_health/metrics").json()["jobs"]
            types = jobs["by_type"]
            sent = types.get("email.send", {}).get("completed", 0)
            return bool(jobs["workers"] == 1 and sent >= 1 and types["webhook.deliver"]["completed"] >= 1)

        assert eventually(told)
        assert client.get("/_health/ready").json()["status"] == "pass"


def test_without_the_stack_the_same_is_answered_and_the_work_done_meanwhile(demo: Demo, bare: Demo) -> None:
    for path in READS:
        with new_client(demo) as ours, new_client(bare) as theirs:
            wrapped, plain = ours.get(path), theirs.get(path)

        assert plain.status_code == wrapped.status_code == 200
        assert plain.text == wrapped.text or path == "/"  # which says that the stack is not there
        assert "cache-status" not in plain.headers
    with new_client(bare) as client:
        order = client.post("/orders", json=ORDER, headers=KEY)
        assert order.status_code == 201
        assert delivered(bare, order.json())


@dataclass
class Mix:
    """Clients that ask for everything there is, without pause, and what they were told."""

    demo: Demo
    replies: list[tuple[str, httpx2.Response]] = field(default_factory=list)
    said: list[str | bytes] = field(default_factory=list)
    """By the websocket."""

    over: threading.Event = field(default_factory=threading.Event)

    def one_client(self) -> None:
        while not self.over.is_set():
            with new_client(self.demo) as client:
                for path in READS:
                    self.replies.append((path, client.get(path)))
                for path, body in (
                    ("/orders", ORDER),
                    ("/inquiries", {**ORDER, "message": "Is it there?"}),
                    ("/login", {"email": "nobody@example", "password": "?"}),
                ):
                    self.replies.append((path, client.post(path, json=body, headers=KEY)))
                price = {"price": "10.00"}
                self.replies.append(("price", client.put("/products/7/price", json=price, headers=KEY)))
                self.replies.append(("/me/orders", client.get("/me/orders", headers=KEY)))
            with connect(f"{self.demo.url.replace('http', 'ws')}/ws") as socket:
                socket.send('{"product": 7}')
                self.said.append(socket.recv(timeout=30))

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.one_client) for _ in range(4)]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            self.over.set()
            for each in threads:
                each.join()

    def until(self, more: int) -> None:
        target = len(self.replies) + more
        assert eventually(lambda: len(self.replies) >= target, within=60)


def valkey_of(demo: Demo) -> int:
    """Return the process id of the demo's own server."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            is_valkey = b"valkey-server" in (entry / "cmdline").read_bytes()
            if is_valkey and (entry / "cwd").readlink().is_relative_to(demo.directory):
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError("no valkey-server of this demo runs")


@contextmanager
def without_valkey(queue: str) -> Iterator[Callable[[], Mix]]:
    """Have a demo of its own whose Valkey is killed in the middle of a mix of all routes."""
    with launched("--port", "0", "--queue", queue) as running:

        def drill() -> Mix:
            mix = Mix(running)
            with mix.running():
                mix.until(60)
                os.kill(valkey_of(running), signal.SIGKILL)
                mix.until(150)
            return mix

        yield drill


def test_valkey_killed_under_all_routes_costs_no_error_when_jobs_wait_in_postgresql() -> None:
    with without_valkey("postgres") as drill:
        mix = drill()
        placed = [reply for path, reply in mix.replies if path == "/orders" and reply.status_code == 201]

        assert {reply.status_code for _, reply in mix.replies if reply.status_code >= 500} == set()
        assert len(placed) >= 5
        assert {"id" in orjson.loads(each) for each in mix.said} == {True}
        assert eventually(lambda: delivered(mix.demo, placed[-1].json()))


def test_valkey_killed_with_the_jobs_in_it_refuses_orders_and_commits_none_of_those() -> None:
    with without_valkey("valkey") as drill:
        mix = drill()
        failed = [(path, reply) for path, reply in mix.replies if reply.status_code >= 500]
        placed = [reply for path, reply in mix.replies if path == "/orders" and reply.status_code == 201]

        assert {path for path, _ in failed} == {"/orders", "/inquiries"}
        assert {(reply.status_code, reply.headers["content-type"]) for _, reply in failed} == {
            (503, "application/problem+json")
        }
        assert all(int(reply.headers["retry-after"]) >= 1 for _, reply in failed)
        assert order_count(mix.demo) == initial_orders() + len(placed)


def initial_orders() -> int:
    """Return how many orders the operator, who is buyer 1, has in the data."""
    with launched("--port", "0", "--bare") as untouched:
        return order_count(untouched)
