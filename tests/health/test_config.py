from __future__ import annotations

from typing import Any

import pytest

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.health import Check, Health, Reading


async def well() -> Reading:
    return Reading()


async def allows(scope: Any) -> bool:
    return True


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"path": "_health"}, "path"),
        ({"path": "/_health/"}, "path"),
        ({"path": "/"}, "path"),
        ({"path": ""}, "path"),
        ({"access": "public"}, "access"),
        ({"access": allows}, "access"),
        ({"token": ""}, "token"),
        ({"token": "hunter2\n"}, "token"),
        ({"checks": [Check("a", well), Check("a", well)]}, "checks"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Health.{complaint}") as refusal:
        Health(**options)

    assert "hunter2" not in str(refusal.value)


def test_it_is_a_value() -> None:
    checks = [Check("a", well)]

    health = Health("/_status", checks=checks, token="hunter2")  # type: ignore[arg-type]  # any sequence will do
    checks.clear()

    assert health == Health("/_status", checks=(Check("a", well),), token="hunter2")
    assert len(health.checks) == 1
    assert hash(health)


def test_its_repr_hides_the_token() -> None:
    assert "hunter2" not in repr(Health(token="hunter2"))
