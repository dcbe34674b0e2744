"""Which statements are slow, and which have values in their texts: told without the values."""

# ruff: noqa: S608 (texts that are put together are what is tested)

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sipup_middleware import Health, Stack
from sipup_middleware.database import Database, PoolConfig, inlined, slow
from sipup_middleware.database.inlined import Inlined
from sipup_middleware.database.slow import SlowQueries
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.telemetry import Fact, SlowQuery, Telemetry, WarningRaised
from tests.asgi import get, lifespan
from tests.database.doubles import Clock

SECRET = "hunter2"


@dataclass
class Heard:
    facts: list[Fact] = field(default_factory=list)

    def __call__(self, fact: Fact) -> None:
        self.facts.append(fact)


def recording(**options: Any) -> tuple[SlowQueries, Heard]:
    telemetry = Telemetry([heard := Heard()])
    return SlowQueries(telemetry, 1.0, **options), heard


async def test_a_slow_statement_is_counted_by_its_text_without_values() -> None:
    queries, _ = recording(clock=Clock())

    for number in range(99):
        queries.record(f"SELECT a FROM t WHERE b = {number}", None, 1.0)
    queries.record("SELECT a FROM t  WHERE b = 'x'", None, 5.0)

    (found,) = (await queries.report())["queries"]
    assert (found["sql"], found["route"]) == ("SELECT a FROM t WHERE b = ?", "__unmatched__")
    assert (found["count"], found["total_s"], found["max_s"]) == (100, 104.0, 5.0)
    assert found["p99_s"] == pytest.approx(1.0, rel=0.02)
    assert found["last_seen"] == 1000.0


async def test_the_costliest_are_kept_and_shown_first() -> None:
    queries, _ = recording()
    for number in range(3 * slow._KEPT):
        queries.record(f"SELECT a FROM t{number}", None, 1.0 + number)

    report = await queries.report()

    assert len(queries._entries) == slow._KEPT
    assert report["total"] == 3 * slow._KEPT
    assert [each["sql"] for each in report["queries"]][:2] == ["SELECT a FROM t767", "SELECT a FROM t766"]
    assert len(report["queries"]) == slow._SHOWN


def test_a_statement_that_stays_slow_is_told_of_once_a_minute() -> None:
    queries, heard = recording(clock=(clock := Clock()))

    for _ in range(10):
        queries.record(f"SELECT '{SECRET}'", None, 2.0)
    clock.now += 60
    queries.record(f"SELECT '{SECRET}'", None, 3.0)

    assert heard.facts == [
        SlowQuery("SELECT ?", "__unmatched__", 2.0, 1),
        SlowQuery("SELECT ?", "__unmatched__", 3.0, 11),
    ]


def test_values_in_many_texts_of_one_form_are_counted_and_warned_of_once() -> None:
    telemetry = Telemetry([heard := Heard()])
    looking = Inlined(telemetry)

    for number in range(200):
        looking.look(f"SELECT * FROM users WHERE name = '{SECRET}{number}' AND kind = 'a'")

    (fact,) = heard.facts
    assert isinstance(fact, WarningRaised)
    assert "$1" in fact.message
    assert "WHERE name = ? AND kind = ?" in fact.message
    assert SECRET not in fact.message
    assert telemetry.counter("database.inlined").value == 150


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a FROM t WHERE kind = 'fixed' AND n < 10 AND id = $1",
        "SELECT a FROM t{0} WHERE kind = 'fixed'",
        "SELECT a FROM t WHERE id = $1 AND kind = 'fixed' /* request {0} */",
        "SET LOCAL lock_timeout = '{0}ms'",
        "NOTIFY jobs, '{0}'",
        "CREATE TABLE t{0} (i int DEFAULT {0})",
    ],
)
def test_constants_and_what_takes_no_parameter_raise_no_alarm(text: str) -> None:
    telemetry = Telemetry([heard := Heard()])
    looking = Inlined(telemetry)

    for number in range(500):
        looking.look(text.format(number))

    assert heard.facts == []
    assert telemetry.counter("database.inlined").value == 0


def test_lists_of_parameters_that_grow_are_no_values() -> None:
    telemetry = Telemetry([heard := Heard()])
    looking = Inlined(telemetry)

    for number in range(2, 200):
        looking.look(f"SELECT a FROM t WHERE id IN ({', '.join(f'${each}' for each in range(1, number))})")

    assert heard.facts == []


def test_what_is_remembered_of_texts_is_bounded() -> None:
    telemetry = Telemetry([heard := Heard()])
    looking = Inlined(telemetry)

    for table in range(300):
        for number in range(60):
            looking.look(f"SELECT a FROM t{table} WHERE i = {number}")

    assert len(looking.texts) <= inlined._REMEMBERED
    assert len(looking._forms) <= inlined._REMEMBERED
    assert len(heard.facts) == inlined._WARNED


def test_a_threshold_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Database\.slow_query"):
        Database("postgresql://db/app", slow_query=0)


async def sleeping(request: Request) -> JSONResponse:
    db = request.state.sipup.db
    await db.fetchval(f"SELECT 1 FROM pg_sleep(0.06) WHERE '{SECRET}' <> $1", SECRET[:3])
    await db.fetchval("SELECT 1")
    return JSONResponse(None)


@pytest.mark.live
async def test_the_metrics_name_the_route_and_no_value(url: str) -> None:
    app = Starlette(routes=[Route("/things/{id}", sleeping)])
    stack = Stack(
        Health(access=lambda scope: True), Database(url, pool=PoolConfig(min=0, max=1), slow_query=0.05)
    )

    async with lifespan(application := stack(app)):
        await get(application, "/things/7")
        reply = await get(application, "/_health/metrics")

    section = reply.json()["database.slow"]
    assert (reply.json()["db"]["slow_total"], reply.json()["db"]["inlined_total"]) == (1, 0)
    (found,) = section["queries"]
    assert section["total"] == 1
    assert found["route"] == "/things/{id}"
    assert found["sql"] == "SELECT ? FROM pg_sleep(?) WHERE ? <> $1"
    assert found["max_s"] >= 0.05
    assert SECRET not in reply.body.decode()


@pytest.mark.live
async def test_nothing_is_recorded_where_it_is_switched_off(url: str) -> None:
    app = Starlette(routes=[Route("/", sleeping)])
    stack = Stack(Health(access=lambda scope: True), Database(url, pool=PoolConfig(min=0), slow_query=None))

    async with lifespan(application := stack(app)):
        await get(application)
        reply = await get(application, "/_health/metrics")

    assert "database.slow" not in reply.json()
