"""The environment's say: URLs, budget, tokens, and which layers are on.

Code is the configuration; a ``SIPUP_*`` variable wins over what the code gave `Settings`. A variable of that
prefix which nobody knows is an error, since a misspelt setting would otherwise be ignored in silence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any

from sipup_middleware.errors import ConfigurationError

__all__ = ("Settings",)

_PREFIX = "SIPUP_"
_SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What differs from one deployment to the next. ``Settings.from_environ()`` reads ``SIPUP_<FIELD>``."""

    database_url: str | None = field(default=None, repr=False)
    """PostgreSQL; None = no `Database` layer."""

    redis_url: str | None = field(default=None, repr=False)
    """Redis or Valkey for limits and, unless ``store_url`` says otherwise, the store; None = in memory."""

    store_url: str | None = field(default=None, repr=False)
    """Where cached things live."""

    jobs_url: str | None = field(default=None, repr=False)
    """Where background jobs wait: PostgreSQL, Redis or Valkey; None = ``database_url`` or ``redis_url``."""

    smtp_url: str | None = field(default=None, repr=False)
    """``smtp://user:password@host:587``: what ``email.send`` sends through."""

    smtp_sender: str | None = None
    """The address that ``email.send`` sends from, where the job does not say."""

    webhook_secret: str | None = field(default=None, repr=False)
    """``whsec_…``: what ``webhook.deliver`` signs with."""

    health_token: str | None = field(default=None, repr=False)
    """Who presents it sees the details under ``/_health``."""

    runtime_dir: str | None = None
    """Where the workers of one host share what they count and purge; None = each for itself."""

    workers: int | None = None
    """Processes that share the connection budget; None = ``WEB_CONCURRENCY``, else 1."""

    budget: int = 80
    """PostgreSQL connections of the whole deployment."""

    health: bool = True
    rate_limit: bool = True
    response_cache: bool = True
    database: bool = True
    jobs: bool = True

    def __post_init__(self) -> None:
        for name in ("workers", "budget"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"Settings.{name} must be at least 1, not {value}")

    @classmethod
    def from_environ(
        cls, given: Settings | None = None, *, environ: Mapping[str, str] = os.environ
    ) -> Settings:
        """Return *given* (default: the defaults) with what *environ* says instead.

        Raises `ConfigurationError` for a variable that is not known, or whose value does not fit.
        """
        known = {_PREFIX + each.name.upper(): each.name for each in fields(cls)}
        said = {name: value for name, value in environ.items() if name.startswith(_PREFIX)}
        for name in said:
            if name not in known:
                close = get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
                raise ConfigurationError(f"unknown setting {name}{hint}")
        values: dict[str, Any] = {known[name]: _read(name, known[name], text) for name, text in said.items()}
        return replace(given or cls(), **values)


def _read(name: str, attribute: str, text: str) -> str | int | bool | None:
    if attribute in {"workers", "budget"}:
        if not text.isdecimal() or int(text) < 1:
            raise ConfigurationError(f"{name} must be a whole number of at least 1, not {text!r}")
        return int(text)
    if attribute in {"health", "rate_limit", "response_cache", "database", "jobs"}:
        if text.lower() not in _SWITCH:
            raise ConfigurationError(f"{name} must be on or off, not {text!r}")
        return _SWITCH[text.lower()]
    return text or None
