"""What a client asks of the cache: RFC 9111, section 5.2.1; RFC 8246. It counts only where it is honoured."""

from __future__ import annotations

import pytest

from tests.asgi import get
from tests.cache.apps import Clock, Origin, Scripted, cached, timed

ETAG = ("etag", '"a"')


def told(line: str) -> tuple[int, list[tuple[str, str]], bytes]:
    return 200, [("cache-control", line), ETAG], b"hello"


@pytest.mark.parametrize(
    ("asked", "age", "forwarded"),
    [
        ("no-cache", 1, True),
        ("max-age=0", 1, True),
        ("max-age=30", 31, True),
        ("max-age=30", 29, False),
        ("min-fresh=30", 31, True),
        ("min-fresh=30", 29, False),
        ("max-stale", 70, False),
        ("max-stale=20", 70, False),
        ("max-stale=5", 70, True),
        ("only-if-cached", 1, False),
        ("no-store", 1, False),
        ("x-unknown", 1, False),
    ],
)
async def test_5_2_1_a_wish_that_is_honoured_decides_on_what_is_stored(
    asked: str, age: float, *, forwarded: bool
) -> None:
    app, clock = Origin([told("max-age=60"), (304, [ETAG], b"")]), Clock()
    wrapped = timed(app, clock, honors_clients=True)
    await get(wrapped)
    clock.now += age

    reply = await get(wrapped, headers=[("cache-control", asked)])

    assert (reply.status, reply.body, len(app.scopes)) == (200, b"hello", 1 + forwarded)


@pytest.mark.parametrize("asked", ["no-cache", "max-age=0", "only-if-cached", "min-fresh=99"])
async def test_23_a_wish_is_advice_by_default(asked: str) -> None:
    app = Scripted()
    wrapped = cached(app)

    for _ in range(2):
        assert (await get(wrapped, headers=[("cache-control", asked)])).status == 200

    assert app.calls == 1


async def test_5_2_1_4_what_is_asked_for_by_request_is_told_so() -> None:
    app, clock = Origin([told("max-age=60"), (304, [ETAG], b"")]), Clock()
    wrapped = timed(app, clock, honors_clients=True)
    await get(wrapped)

    reply = await get(wrapped, headers=[("cache-control", "no-cache")])

    assert reply.headers["cache-status"] == "sipup; fwd=request; fwd-status=304; stored; ttl=60"


@pytest.mark.parametrize("line", ["must-revalidate", "proxy-revalidate", "s-maxage=60"])
async def test_5_2_1_2_max_stale_does_not_overrule_the_answer(line: str) -> None:
    app, clock = Origin([told(f"max-age=60, {line}"), (304, [ETAG], b"")]), Clock()
    wrapped = timed(app, clock, honors_clients=True)
    await get(wrapped)
    clock.now += 61

    await get(wrapped, headers=[("cache-control", "max-stale")])

    assert len(app.scopes) == 2


async def test_5_2_1_7_only_if_cached_gets_504_rather_than_the_app() -> None:
    app, clock = Origin([told("max-age=60")]), Clock()
    wrapped = timed(app, clock, honors_clients=True)

    miss = await get(wrapped, headers=[("cache-control", "only-if-cached")])
    await get(wrapped)
    clock.now += 61
    stale = await get(wrapped, headers=[("cache-control", "only-if-cached")])

    assert (miss.status, stale.status, len(app.scopes)) == (504, 504, 1)
    assert miss.headers["cache-status"] == "sipup; detail=only-if-cached"


@pytest.mark.parametrize(("control", "forwarded"), [([], True), ([("cache-control", "max-age=99")], False)])
async def test_5_4_pragma_counts_only_without_cache_control(
    control: list[tuple[str, str]], *, forwarded: bool
) -> None:
    app, clock = Origin([told("max-age=60"), (304, [ETAG], b"")]), Clock()
    wrapped = timed(app, clock, honors_clients=True)
    await get(wrapped)

    await get(wrapped, headers=[("pragma", "no-cache"), *control])

    assert len(app.scopes) == 1 + forwarded


@pytest.mark.parametrize(("asked", "age", "forwarded"), [("max-age=0", 1, False), ("no-cache", 1, True)])
async def test_8246_2_an_immutable_answer_is_not_reloaded_while_it_is_fresh(
    asked: str, age: float, *, forwarded: bool
) -> None:
    app, clock = Origin([told("max-age=60, immutable"), (304, [ETAG], b"")]), Clock()
    wrapped = timed(app, clock, honors_clients=True)
    await get(wrapped)
    clock.now += age

    await get(wrapped, headers=[("cache-control", asked)])

    assert len(app.scopes) == 1 + forwarded


async def test_8246_2_an_immutable_answer_goes_stale_as_any_other() -> None:
    app, clock = Origin([told("max-age=60, immutable"), (304, [ETAG], b"")]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    await get(wrapped)

    assert len(app.scopes) == 2


async def test_5_2_1_5_a_client_that_says_no_store_renews_nothing() -> None:
    app, clock = Origin([told("max-age=60"), (200, [("cache-control", "max-age=60")], b"other")]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    replies = [await get(wrapped, headers=[("cache-control", "no-store")]) for _ in range(2)]

    assert [reply.headers["cache-status"] for reply in replies] == ["sipup; fwd=stale"] * 2
    assert app.asked(1) == {b"cache-control": b"no-store"}
