from __future__ import annotations

import pytest

from sipup_middleware.cache.response import ResponseControl
from sipup_middleware.cache.unstorable import Unstorable
from sipup_middleware.errors import ConfigurationError


@pytest.mark.parametrize(("later", "remembered"), [(1.0, True), (4.9, True), (5.0, False), (60.0, False)])
def test_what_was_not_storable_is_remembered_for_some_seconds(later: float, *, remembered: bool) -> None:
    now = 0.0
    unstorable = Unstorable(clock=lambda: now)
    unstorable.add((b"/", 0))

    now = later

    assert ((b"/", 0) in unstorable) is remembered
    assert (b"/", 1) not in unstorable


def test_however_much_was_not_storable_the_memory_is_bounded() -> None:
    unstorable = Unstorable()

    for number in range(20_000):
        unstorable.add(number)

    assert 19_999 in unstorable
    assert 0 not in unstorable
    assert sum(number in unstorable for number in range(20_000)) <= 8192


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_lifetime_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="ttl"):
        ResponseControl(None).ttl(seconds)
