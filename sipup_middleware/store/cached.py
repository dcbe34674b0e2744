"""`Store.cached`: what a function returns, kept under a key that its arguments fill.

No two calls meet in a key: each argument is written with its type and its length, so that ``1``, ``"1"`` and
True differ, and no text reads as the next one's beginning. Tags are filled plainly, as whoever purges writes
them: where two meet, it costs a miss.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import Enum
from functools import partial, wraps
from inspect import Parameter, iscoroutinefunction, signature
from string import Formatter
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store.handle import OpenStore
from sipup_middleware.store.values import Asking, Terms

__all__ = ("Cached", "Template", "key_of")

P = ParamSpec("P")
T = TypeVar("T")
Function = Callable[P, Coroutine[Any, Any, T]]
Arguments = Mapping[str, object]

_GATHERING = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class Template:
    """Text that holds plain ``{name}``s; ``{{`` and ``}}`` stand for braces."""

    def __init__(self, text: str, *, option: str) -> None:
        self.text = text
        try:
            pieces = list(Formatter().parse(text))
        except ValueError as error:
            raise ConfigurationError(f"{option} {text!r} has a brace too many or too few") from error
        for _, name, spec, conversion in pieces:
            if name is not None and (spec or conversion or not name.isidentifier()):
                raise ConfigurationError(
                    f"{option} {text!r} must hold plain {{name}}s, and nothing else in braces"
                )
        self._pieces = [(literal, name) for literal, name, _, _ in pieces]
        self.names = tuple(dict.fromkeys(name for _, name in self._pieces if name is not None))

    def fill(self, arguments: Arguments) -> str:
        """Return the text with the *arguments* in their places."""
        return "".join(
            literal if name is None else f"{literal}{_plain(arguments[name])}"
            for literal, name in self._pieces
        )


class Cached:
    """The decorator; *opened* returns the open store at each call."""

    def __init__(
        self, opened: Callable[[], OpenStore], *, key: str, tags: Sequence[str], terms: Terms
    ) -> None:
        if isinstance(tags, str):
            raise ConfigurationError("Store.cached.tags takes a sequence of names, not a string")
        self._opened = opened
        self._terms = terms
        self._key = Template(key, option="Store.cached.key")
        self._tags = [Template(tag, option="Store.cached.tags") for tag in tags]
        for tag in self._tags:
            if missing := set(tag.names) - set(self._key.names):
                raise ConfigurationError(f"Store.cached.tags names {sorted(missing)}, which its key does not")

    def __call__(self, function: Function[P, T]) -> Function[P, T]:
        """Return what answers in the place of *function*, and asks it where nothing is stored."""
        declared = signature(function)
        self._check(function, declared.parameters)
        given = {name: each.default for name, each in declared.parameters.items()}

        @wraps(function)
        async def answer(*args: P.args, **kwargs: P.kwargs) -> T:
            arguments = given | declared.bind(*args, **kwargs).arguments
            key = key_of(self._key, arguments)
            tags = [tag.fill(arguments) for tag in self._tags]
            make = partial(function, *args, **kwargs)
            value: T = await Asking(self._opened(), key, make, self._terms, tags).answer()
            return value

        return answer

    def _check(self, function: object, parameters: Mapping[str, Parameter]) -> None:
        if not iscoroutinefunction(function):
            raise ConfigurationError(f"Store.cached decorates an async function, not {function!r}")
        named = {name for name, each in parameters.items() if each.kind not in _GATHERING}
        if missing := set(self._key.names) - named:
            raise ConfigurationError(f"Store.cached.key names {sorted(missing)}, which are no parameters")


def key_of(template: Template, arguments: Arguments) -> bytes:
    """Return the key that *template* and its *arguments* alone have."""
    text = template.text.encode("utf-8", "surrogatepass")
    return b"cached:%d:%b%b" % (
        len(text),
        text,
        b"".join([_exact(name, arguments[name]) for name in template.names]),
    )


def _exact(name: str, value: object) -> bytes:
    """Write *value* so that its end is known, and that no other value is written alike."""
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"s%d:%b" % (len(text), text)
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, int):
        return b"i%x;" % value
    if isinstance(value, UUID):
        return b"u%b" % value.bytes
    if value is None:
        return b"n"
    kind = type(value).__name__
    raise ConfigurationError(f"Store.cached.key: {name} must be a str, int, bool, UUID or None, not {kind}")


def _plain(value: object) -> str:
    return str(value.value if isinstance(value, Enum) else value)
