from __future__ import annotations

import pytest

from sipup_middleware.cache.recent import Recent


@pytest.mark.parametrize(("later", "remembered"), [(1.0, True), (4.9, True), (5.0, False), (60.0, False)])
def test_what_went_wrong_is_remembered_for_some_seconds(later: float, *, remembered: bool) -> None:
    now = 0.0
    recent = Recent(5.0, clock=lambda: now)
    recent.add((b"/", 0))

    now = later

    assert ((b"/", 0) in recent) is remembered
    assert (b"/", 1) not in recent


def test_however_much_goes_wrong_the_memory_is_bounded() -> None:
    recent = Recent(5.0)

    for number in range(20_000):
        recent.add(number)

    assert 19_999 in recent
    assert 0 not in recent
    assert sum(number in recent for number in range(20_000)) <= 8192
