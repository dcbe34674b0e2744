"""A kind of work is a value that refuses nonsense, and knows what its payload must hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.jobs import JobContext, Task, job


async def sync(ctx: JobContext, invoice: int, *, note: str = "") -> str:
    return f"{ctx.id} {invoice} {note}"


async def takes_all(ctx: JobContext, invoice: int, **more: object) -> None: ...


async def takes_nothing() -> None: ...


def not_async(ctx: JobContext) -> None: ...


def positive(payload: Mapping[str, Any]) -> None:
    if payload["invoice"] < 1:
        raise ValueError("invoice must be at least 1")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("function", not_async),
        ("function", takes_nothing),
        ("name", ""),
        ("name", "a" * 65),
        ("name", "invoice sync"),
        ("name", "invoice:sync"),
        ("priority", "urgent"),
        ("retries", -1),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", float("inf")),
        ("timeout", float("nan")),
        ("backoff", (0, 4.0, 300)),
        ("backoff", (2, 0.5, 300)),
        ("backoff", (2, 4.0, 0)),
        ("backoff", (2, 4.0)),
    ],
)
def test_nonsense_is_refused_by_its_field(field: str, value: Any) -> None:
    fields = {"function": sync, "name": "invoice.sync", field: value}

    with pytest.raises(ConfigurationError, match=rf"Task\.{field} must"):
        Task(fields.pop("function"), **fields)


def test_a_decorated_function_is_a_task_with_the_options_as_fields() -> None:
    options: dict[str, Any] = {
        "priority": "high",
        "retries": 5,
        "timeout": 10,
        "backoff": (1, 2.0, 60),
        "check": positive,
    }

    made = job("invoice.sync", **options)(sync)

    assert made == Task(sync, name="invoice.sync", **options)


def test_what_is_not_said_is_the_same_either_way() -> None:
    assert job("invoice.sync")(sync) == Task(sync, name="invoice.sync")


def test_a_task_is_a_value() -> None:
    task = Task(sync, name="invoice.sync", backoff=[1, 2.0, 60])  # type: ignore[arg-type]  # (a list is copied)

    assert task.backoff == (1, 2.0, 60)
    assert task == Task(sync, name="invoice.sync", backoff=(1, 2.0, 60))
    assert hash(task) == hash(Task(sync, name="invoice.sync", backoff=(1, 2.0, 60)))
    assert task != Task(sync, name="invoice.sync")
    assert dataclasses.replace(task, retries=9).retries == 9
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.retries = 9  # type: ignore[misc]  # (that it cannot be is the point)


@pytest.mark.parametrize("payload", [{"invoice": 7}, {"invoice": 7, "note": "now"}])
def test_a_payload_that_fits_is_let_through(payload: dict[str, Any]) -> None:
    Task(sync, name="invoice.sync").examine(payload)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ({}, "the payload of invoice.sync lacks invoice"),
        ({"note": "now"}, "the payload of invoice.sync lacks invoice"),
        ({"invoice": 7, "colour": 1}, "the payload of invoice.sync has no colour; known: invoice, note"),
        ({"invoice": 7, "ctx": 1}, "the payload of invoice.sync has no ctx; known: invoice, note"),
        ({"invoice": 7, 3: 1}, "the payload of invoice.sync has no 3; known: invoice, note"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused_by_its_key(payload: Any, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{complaint}$"):
        Task(sync, name="invoice.sync").examine(payload)


def test_a_function_that_takes_any_keyword_still_has_its_context_and_what_it_requires() -> None:
    task = Task(takes_all, name="invoice.sync")

    task.examine({"invoice": 7, "anything": 1})

    with pytest.raises(ConfigurationError, match="has no ctx; known: any other"):
        task.examine({"invoice": 7, "ctx": 1})
    with pytest.raises(ConfigurationError, match="lacks invoice"):
        task.examine({"anything": 1})


def test_a_function_without_keywords_takes_an_empty_payload_alone() -> None:
    @job("tick")
    async def tick(ctx: JobContext) -> None: ...

    tick.examine({})
    with pytest.raises(ConfigurationError, match="has no a; known: nothing"):
        tick.examine({"a": 1})


def test_what_the_check_says_is_passed_on_with_the_tasks_name() -> None:
    task = Task(sync, name="invoice.sync", check=positive)

    task.examine({"invoice": 1})
    with pytest.raises(
        ConfigurationError, match=r"^the payload of invoice\.sync: invoice must be at least 1$"
    ):
        task.examine({"invoice": 0})


async def test_a_task_is_called_like_its_function() -> None:
    ctx = JobContext(id="k1", name="invoice.sync")

    assert await Task(sync, name="invoice.sync")(ctx, invoice=7, note="now") == "k1 7 now"


async def test_a_payload_may_use_the_names_of_a_call() -> None:
    @job("echo")
    async def echo(ctx: JobContext, **payload: Any) -> dict[str, Any]:
        return payload

    ctx = JobContext(id="k1", name="echo")

    assert await echo(ctx, self=1, function=2, payload=3) == {"self": 1, "function": 2, "payload": 3}


@pytest.mark.parametrize(("told", "seen"), [(-1, 0.0), (0.5, 0.5), (7, 1.0)])
async def test_progress_is_between_nothing_and_all(told: float, seen: float) -> None:
    reported: list[float] = []

    async def report(fraction: float) -> None:
        reported.append(fraction)

    await JobContext(id="k1", name="echo", report=report).progress(told)
    await JobContext(id="k1", name="echo").progress(told)  # where nobody listens, it is not missed

    assert reported == [seen]
