"""Store.cached: a function that is asked once for each of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import Enum, IntEnum, StrEnum
from inspect import iscoroutinefunction, signature
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store import Store
from sipup_middleware.store.cached import Cached, Template, key_of
from sipup_middleware.store.values import Terms
from tests.store.doubles import Clock, open_store


class Colour(Enum):
    RED = 1


class Name(StrEnum):
    ANN = "ann"


class Size(IntEnum):
    BIG = 7


def key(text: str, **arguments: object) -> bytes:
    return key_of(Template(text, option="key"), arguments)


async def test_a_call_is_answered_again_until_its_arguments_differ() -> None:
    store, calls = Store(), list[Any]()

    @store.cached(ttl=60, key="user:{user_id}:{lang}")
    async def user(user_id: int, lang: str = "en", *, log: Any = None) -> dict[str, Any]:
        calls.append((user_id, lang))
        return {"id": user_id, "lang": lang}

    async with store.open():
        alike = [await user(7), await user(user_id=7), await user(7, "en"), await user(7, log=print)]
        other = [await user(8), await user(7, lang="de")]

    assert alike == [{"id": 7, "lang": "en"}] * 4
    assert other == [{"id": 8, "lang": "en"}, {"id": 7, "lang": "de"}]
    assert calls == [(7, "en"), (8, "en"), (7, "de")]


async def test_a_tag_is_what_the_argument_reads_as() -> None:
    store, calls = Store(), list[object]()

    @store.cached(ttl=60, key="{user_id}{team}", tags=("user:{user_id}", "team:{team}", "all"))
    async def user(user_id: object, team: object = None) -> None:
        calls.append(user_id)

    async with store.open() as cache:
        for tag in ("user:7", "user:ann", f"user:{UUID(int=5)}", "team:None", "all", "user:True"):
            for argument in (7, "ann", UUID(int=5), True):
                await user(argument)
            calls.clear()
            await cache.invalidate(tags=[tag])
            for argument in (7, "ann", UUID(int=5), True):
                await user(argument)
            assert len(calls) == (4 if tag in {"all", "team:None"} else 1), tag


async def test_a_member_of_an_enum_of_text_or_numbers_is_its_value() -> None:
    store, calls = Store(), list[object]()

    @store.cached(ttl=60, key="{one}", tags=("one:{one}",))
    async def find(one: object) -> None:
        calls.append(one)

    async with store.open() as cache:
        for one in (Name.ANN, "ann", Size.BIG, 7):
            await find(one)
        await cache.invalidate(tags=["one:ann", "one:7"])
        for one in (Name.ANN, Size.BIG):
            await find(one)

    assert calls == [Name.ANN, Size.BIG] * 2


async def test_what_must_not_tell_two_calls_apart_is_refused() -> None:
    @Store().cached(ttl=60, key="{one}")
    async def find(one: object) -> None: ...

    for one in (1.5, b"x", [], (1,), {}, object(), Colour.RED):
        with pytest.raises(ConfigurationError, match="one must be a str, int, bool, UUID or None") as refused:
            await find(one)
        assert type(one).__name__ in str(refused.value)


async def test_a_call_that_the_function_would_not_take_raises_as_it_would() -> None:
    @Store().cached(ttl=60, key="{one}")
    async def find(one: int) -> None: ...

    wrong: Any = find
    calls: list[tuple[tuple[int, ...], dict[str, int]]] = [((), {}), ((1, 2), {}), ((1,), {"one": 1})]
    for args, kwargs in [*calls, ((), {"two": 1})]:
        with pytest.raises(TypeError):
            await wrong(*args, **kwargs)


def test_the_function_keeps_its_name_its_page_and_its_signature() -> None:
    async def find(one: int, *, two: str = "") -> list[int]:
        """Look."""
        return [one, len(two)]

    cached = Store().cached(ttl=60, key="{one}{two}")(find)

    assert (cached.__name__, cached.__doc__) == ("find", "Look.")
    assert signature(cached) == signature(find)
    assert iscoroutinefunction(cached)


async def test_a_method_is_a_function_too() -> None:
    store = Store()

    class Shop:
        calls = 0

        @store.cached(ttl=60, key="price:{item}")
        async def price(self, item: str) -> int:
            self.calls += 1
            return len(item)

    shop = Shop()

    async with store.open():
        assert [await shop.price("chair"), await shop.price("chair"), await shop.price("sofa")] == [5, 5, 4]
    assert shop.calls == 2


async def test_many_callers_at_once_ask_once() -> None:
    store, calls, found = Store(), list[int](), list[int]()

    @store.cached(ttl=60, key="{one}")
    async def find(one: int) -> int:
        calls.append(one)
        await checkpoint()
        return one

    async def ask() -> None:
        found.append(await find(7))

    async with store.open(), anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)

    assert (calls, found) == ([7], [7] * 50)


async def test_what_is_open_serves_and_where_nothing_is_the_store_opens_itself() -> None:
    store, calls = Store(), list[int]()

    @store.cached(ttl=60, key="{one}")
    async def find(one: int) -> None:
        calls.append(one)

    async with store.open():
        await find(1)
        await find(1)
    await find(1)
    await find(1)

    assert calls == [1, 1], "what was in the closed store's memory went with it"


async def test_stale_and_early_are_those_of_get_or_set() -> None:
    clock, calls = Clock(), list[int]()
    cache = open_store(clock=clock)

    async def find(one: int) -> int:
        calls.append(one)
        if len(calls) > 1:
            raise LookupError("away")
        return one

    stale = Cached(lambda: cache, key="{one}", tags=(), terms=Terms(60, stale=30))(find)
    early = Cached(lambda: cache, key="{one}", tags=(), terms=Terms(60, early=1e300))(find)
    await stale(1)
    eager = await early(1)
    clock.now += 60

    assert (eager, await stale(1)) == (1, 1)
    assert calls == [1, 1, 1]


@pytest.mark.parametrize(
    "text",
    ["{one.name}", "{one[0]}", "{one!r}", "{one:>9}", "{one:{one}}", "{}", "{0}", "{ one }", "{one", "one}"],
)
@pytest.mark.parametrize("option", ["key", "tags"])
def test_only_plain_names_stand_in_braces(option: str, text: str) -> None:
    options: Any = {"key": "{one}", "tags": (), option: text if option == "key" else (text,)}

    with pytest.raises(ConfigurationError, match=rf"Store\.cached\.{option} '"):
        Store().cached(ttl=60, **options)


def test_doubled_braces_are_braces() -> None:
    assert Template("{{x}}{one}", option="key").fill({"one": 7}) == "{x}7"


@pytest.mark.parametrize("text", ["{two}", "{args}", "{kwargs}"])
def test_a_name_that_is_no_parameter_is_refused_at_the_decoration(text: str) -> None:
    async def find(one: int, *args: int, **kwargs: int) -> None: ...

    with pytest.raises(ConfigurationError, match=r"Store\.cached\.key names .* no parameters"):
        Store().cached(ttl=60, key=text)(find)


def test_a_tag_of_what_the_key_does_not_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Store\.cached\.tags names \['two'\]"):
        Store().cached(ttl=60, key="{one}", tags=("{two}",))


def test_tags_are_a_sequence_of_names() -> None:
    with pytest.raises(ConfigurationError, match=r"Store\.cached\.tags takes a sequence"):
        Store().cached(ttl=60, key="one", tags="one")


def test_only_an_async_function_is_decorated() -> None:
    function: Any = len

    with pytest.raises(ConfigurationError, match="async function"):
        Store().cached(ttl=60, key="one")(function)


def test_nonsense_is_refused_at_the_decoration() -> None:
    with pytest.raises(ConfigurationError, match="stale must be a finite number"):
        Store().cached(ttl=60, key="one", stale=-1)


arguments = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 3),
    st.text("0123:;sintfu-é\ud800", max_size=6),
    st.uuids(),
)


def typed(*values: object) -> list[tuple[type, object]]:
    return [(type(value), value) for value in values]


@given(arguments, arguments, arguments, arguments)
def test_no_two_calls_meet_in_a_key(a: object, b: object, c: object, d: object) -> None:
    same = typed(a, b) == typed(c, d)

    assert (key("{x}{y}", x=a, y=b) == key("{x}{y}", x=c, y=d)) is same
    assert (key("{x}:{y}", x=a, y=b) == key("{x}:{y}", x=c, y=d)) is same


@given(st.text("{}x:1s", max_size=8), st.text("{}x:1s", max_size=8), arguments, arguments)
def test_no_two_templates_meet_in_a_key(one: str, other: str, x: object, y: object) -> None:
    try:
        keys = key(one, x=x), key(other, x=y)
    except (ConfigurationError, KeyError):
        return  # not templates, or of other names

    assert keys[0] != keys[1] or one == other


def test_the_accepted_kinds_of_one_text_differ() -> None:
    one = uuid4()
    kinds: list[object] = [one, str(one), one.hex, one.int, None, "None", True, "True", 1, "1", 0, False, ""]

    assert len({key("{x}", x=kind) for kind in kinds}) == len(kinds)


def test_a_number_of_any_size_is_a_key() -> None:
    assert key("{x}", x=10**10_000) != key("{x}", x=10**10_000 + 1)


def test_a_decorator_is_typed_by_what_it_decorates() -> None:
    async def find(one: int) -> str:
        return str(one)

    cached: Callable[[int], Coroutine[Any, Any, str]] = Store().cached(ttl=60, key="{one}")(find)

    assert callable(cached)
