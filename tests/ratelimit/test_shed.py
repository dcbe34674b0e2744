from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import pytest
from starlette.types import Scope

from sipup_middleware import ConfigurationError
from sipup_middleware.ratelimit.shed import LoadShed


def important(scope: Scope) -> int:
    return int(scope["path"] == "/checkout")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_inflight", 0),
        ("max_inflight", True),
        ("max_inflight", 10.5),
        ("max_inflight", "2048"),
        ("max_per_client", 0),
        ("max_per_client", None),
        ("queue", -1),
        ("queue", 1.0),
        ("queue_timeout", 0),
        ("queue_timeout", -0.25),
        ("queue_timeout", math.nan),
        ("queue_timeout", math.inf),
        ("queue_timeout", "0.25"),
        ("adaptive", "yes"),
        ("adaptive", 1),
        ("max_loop_lag", 0),
        ("max_loop_lag", math.nan),
        ("max_loop_lag", None),
        ("priority", 3),
        ("priority", "high"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_its_field(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"LoadShed\.{option}\b"):
        LoadShed(**{option: value})


@pytest.mark.parametrize(
    "options",
    [
        {"max_inflight": 1},  # below the default of max_per_client
        {"queue": 0},
        {"queue_timeout": 1},
        {"max_loop_lag": math.inf},
        {"adaptive": False},
        {"priority": important},
    ],
)
def test_the_extremes_make_sense(options: dict[str, Any]) -> None:
    assert dataclasses.asdict(LoadShed(**options)).items() >= options.items()


def test_it_is_a_value() -> None:
    shed = LoadShed(max_inflight=100, priority=important)

    assert shed == LoadShed(max_inflight=100, priority=important) != LoadShed()
    assert pickle.loads(pickle.dumps(shed)) == shed
    with pytest.raises(dataclasses.FrozenInstanceError):
        shed.queue = 1  # type: ignore[misc]  # (refused on purpose)
    with pytest.raises(TypeError):
        LoadShed(2048)  # type: ignore[call-arg]  # (refused on purpose)
