"""What is public is declared, and what is declared is documented."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import ParamSpec, TypeVar, TypeVarTuple

import pytest

import sipup_middleware

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(sipup_middleware.__path__, "sipup_middleware.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("module", [sipup_middleware, *MODULES], ids=lambda module: module.__name__)
def test_all_is_a_sorted_tuple_of_names_that_exist(module: ModuleType) -> None:
    assert isinstance(module.__all__, tuple)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert len(set(module.__all__)) == len(module.__all__)
    assert list(module.__all__) == sorted(
        module.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_lists_what_the_module_defines(module: ModuleType) -> None:
    defined = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and not isinstance(value, (ParamSpec, TypeVar, TypeVarTuple))
    }

    assert defined - set(module.__all__) == set()


@pytest.mark.parametrize("module", [sipup_middleware, *MODULES], ids=lambda module: module.__name__)
def test_every_module_says_what_it_is_for(module: ModuleType) -> None:
    assert module.__doc__


@pytest.mark.parametrize("name", sipup_middleware.__all__)
def test_every_public_name_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(sipup_middleware, name)

    assert inspect.getdoc(value)
    assert not str(inspect.getdoc(value)).startswith(f"{name}("), (
        "dataclasses write that when nobody else does"
    )


def test_the_front_door_completes_every_public_name() -> None:
    assert set(sipup_middleware.__all__) <= set(dir(sipup_middleware))


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'RateLimits'"):
        sipup_middleware.RateLimits  # noqa: B018 (that it does not exist is the test)
