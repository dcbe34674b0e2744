"""The environment has the last word, and a word nobody knows is an error."""

from __future__ import annotations

import dataclasses
import re

import pytest

from sipup_middleware import ConfigurationError, Settings

EXAMPLES = [
    ("SIPUP_DATABASE_URL", "postgresql://app:secret@db/app", "postgresql://app:secret@db/app"),
    ("SIPUP_REDIS_URL", "redis://:secret@cache", "redis://:secret@cache"),
    ("SIPUP_STORE_URL", "memory://", "memory://"),
    ("SIPUP_JOBS_URL", "redis://:secret@queue", "redis://:secret@queue"),
    ("SIPUP_SMTP_URL", "smtp://shop:secret@mail:587", "smtp://shop:secret@mail:587"),
    ("SIPUP_SMTP_SENDER", "shop@example.com", "shop@example.com"),
    ("SIPUP_WEBHOOK_SECRET", "whsec_secret", "whsec_secret"),
    ("SIPUP_HEALTH_TOKEN", "secret", "secret"),
    ("SIPUP_RUNTIME_DIR", "/run/sipup", "/run/sipup"),
    ("SIPUP_WORKERS", "4", 4),
    ("SIPUP_BUDGET", "60", 60),
    ("SIPUP_HEALTH", "off", False),
    ("SIPUP_RATE_LIMIT", "FALSE", False),
    ("SIPUP_RESPONSE_CACHE", "0", False),
    ("SIPUP_DATABASE", "off", False),
    ("SIPUP_JOBS", "off", False),
]


def attribute(variable: str) -> str:
    return variable.removeprefix("SIPUP_").lower()


@pytest.mark.parametrize(("variable", "text", "value"), EXAMPLES)
def test_each_variable_sets_its_field(variable: str, text: str, value: object) -> None:
    settings = Settings.from_environ(environ={variable: text, "PATH": "/bin", "XSIPUP_X": "1"})

    assert dataclasses.asdict(settings) == {**dataclasses.asdict(Settings()), attribute(variable): value}


def test_every_field_has_an_example_here() -> None:
    known = {field.name for field in dataclasses.fields(Settings)}

    # Another part's field needs its line in EXAMPLES.
    assert {attribute(variable) for variable, _, _ in EXAMPLES} == known


@pytest.mark.parametrize("text", ["on", "true", "1", "ON"])
def test_a_layer_can_be_switched_back_on(text: str) -> None:
    assert Settings.from_environ(Settings(health=False), environ={"SIPUP_HEALTH": text}).health


def test_the_environment_wins_over_the_code_and_leaves_the_rest() -> None:
    given = Settings(budget=20, database_url="postgresql://code")

    settings = Settings.from_environ(given, environ={"SIPUP_BUDGET": "30"})

    assert (settings.budget, settings.database_url) == (30, "postgresql://code")
    assert given.budget == 20


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIPUP_BUDGET", "31")

    assert Settings.from_environ().budget == 31


def test_an_empty_url_unsets_it() -> None:
    given = Settings(database_url="postgresql://code")

    assert Settings.from_environ(given, environ={"SIPUP_DATABASE_URL": ""}).database_url is None


def test_an_unknown_variable_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigurationError, match="SIPUP_DATABSE_URL; did you mean SIPUP_DATABASE_URL"):
        Settings.from_environ(environ={"SIPUP_DATABSE_URL": "postgresql://secret"})


def test_a_variable_like_no_other_is_refused_with_all_that_are_known() -> None:
    with pytest.raises(ConfigurationError, match=r"SIPUP_QQQQQQQQ; known: .*SIPUP_BUDGET"):
        Settings.from_environ(environ={"SIPUP_QQQQQQQQ": "1"})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SIPUP_BUDGET", "0"),
        ("SIPUP_BUDGET", "-1"),
        ("SIPUP_BUDGET", "many"),
        ("SIPUP_BUDGET", ""),
        ("SIPUP_WORKERS", "1.5"),
        ("SIPUP_HEALTH", "maybe"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(variable: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{variable} must be .*{re.escape(repr(text))}"):
        Settings.from_environ(environ={variable: text})


@pytest.mark.parametrize("nonsense", [{"budget": 0}, {"workers": -1}])
def test_code_may_not_say_nonsense_either(nonsense: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=f"Settings.{next(iter(nonsense))}"):
        Settings(**nonsense)  # type: ignore[arg-type]  # (mypy does not know which key this is)


def test_secrets_are_in_no_repr() -> None:
    environ = {variable: text for variable, text, _ in EXAMPLES}

    assert "secret" not in repr(Settings.from_environ(environ=environ))
