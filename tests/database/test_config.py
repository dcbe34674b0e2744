from __future__ import annotations

import pickle

import pytest

from sipup_middleware.database import Database, PoolConfig
from sipup_middleware.errors import ConfigurationError


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:s3cret@db.internal/app",
        "postgres://app:s3cret@db.internal/app?sslmode=require",
        "postgresql://app:s3c@s3cret@db.internal/app",
        "postgresql://db.internal/app?user=app&password=s3cret",
        "postgresql:///app?password=s3cret&host=/run/pg",
    ],
)
def test_a_password_is_not_printed(url: str) -> None:
    layer = Database(url)

    assert "s3cret" not in repr(layer)
    assert "***" in repr(layer)


def test_a_url_without_a_password_is_printed_whole() -> None:
    assert "'postgresql://app@db:5432/app'" in repr(Database("postgresql://app@db:5432/app"))


def test_a_url_of_another_kind_is_refused_without_being_printed() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Database("mysql://root:s3cret@db/app")

    assert "s3cret" not in str(refusal.value)
    assert "Database.url" in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min", -1),
        ("max", 0),
        ("budget", 0),
        ("workers", 0),
        ("acquire_timeout", 0),
        ("reserved", -1),
        ("max_waiting", -1),
        ("health_interval", 0),
        ("max_lifetime", -1),
        ("leak_after", 0),
    ],
)
def test_nonsense_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"PoolConfig\.{field}"):
        PoolConfig(**{field: value})  # type: ignore[arg-type]  # (each field in turn)


@pytest.mark.parametrize(
    ("budget", "environ", "size"),
    [
        (100, {"SIPUP_WORKERS": "4"}, 25),
        (100, {"WEB_CONCURRENCY": "4"}, 25),
        (100, {"SIPUP_WORKERS": "2", "WEB_CONCURRENCY": "4"}, 50),
        (80, {}, 50),
        (3, {"WEB_CONCURRENCY": "4"}, 1),
    ],
)
def test_the_budget_is_shared_by_the_workers(
    budget: int, environ: dict[str, str], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SIPUP_WORKERS", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert PoolConfig(budget=budget).size == size


def test_workers_in_code_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIPUP_WORKERS", "8")

    assert PoolConfig(budget=100, workers=4).size == 25


def test_a_layer_is_a_value() -> None:
    first, second = Database("postgresql://db/app"), Database("postgresql://db/app")

    assert first == second
    assert hash(first) == hash(second)
    assert pickle.loads(pickle.dumps(first)) == first
    assert first != Database("postgresql://db/app", always_reset=True)
