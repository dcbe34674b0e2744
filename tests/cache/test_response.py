from __future__ import annotations

import pytest

from sipup_middleware.cache.response import ResponseControl
from sipup_middleware.errors import ConfigurationError


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["ttl", "stale"])
def test_seconds_that_are_none_are_refused(name: str, seconds: float) -> None:
    with pytest.raises(ConfigurationError, match=name):
        getattr(ResponseControl(None), name)(seconds)
