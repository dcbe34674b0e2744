"""Both servers side by side, or those that the environment does not name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sipup_middleware.services.postgres import Postgres
from sipup_middleware.services.process import Nest
from sipup_middleware.services.valkey import Valkey

__all__ = ("Services", "run_services")


@dataclass(frozen=True, slots=True)
class Services:
    """What runs, and where."""

    database_url: str | None
    redis_url: str | None
    postgres: Postgres | None
    """Ours to stop and restart; None where ``SIPUP_DATABASE_URL`` named one."""

    valkey: Valkey | None
    """Ours to stop and restart; None where ``SIPUP_REDIS_URL`` named one."""

    @property
    def environ(self) -> dict[str, str]:
        """The variables that tell a child process where they are."""
        urls = {"SIPUP_DATABASE_URL": self.database_url, "SIPUP_REDIS_URL": self.redis_url}
        return {name: url for name, url in urls.items() if url}


@contextmanager
def run_services(
    *,
    postgres: bool = True,
    valkey: bool = True,
    environ: Mapping[str, str] = os.environ,
    postgres_settings: Mapping[str, str] | None = None,
    valkey_settings: Mapping[str, str] | None = None,
) -> Iterator[Services]:
    """Keep a PostgreSQL and a Valkey running; nothing of ours is left behind, even if this process is killed.

    The settings are those of ``postgresql.conf`` and ``valkey.conf``. Raises `ConfigurationError` where a
    server is not found, `BackendUnavailable` where one does not start.
    """
    database_url = environ.get("SIPUP_DATABASE_URL") if postgres else None
    redis_url = environ.get("SIPUP_REDIS_URL") if valkey else None
    make_postgres, make_valkey = postgres and not database_url, valkey and not redis_url
    if not make_postgres and not make_valkey:
        yield Services(database_url, redis_url, None, None)
        return
    with ExitStack() as cleanup:
        nest = Nest()
        cleanup.callback(nest.close)
        kept = Valkey(nest, settings=valkey_settings) if make_valkey else None
        if kept:
            kept.start(wait=False)  # comes up while PostgreSQL's cluster is made
        cluster = Postgres(nest, settings=postgres_settings) if make_postgres else None
        if cluster:
            cleanup.callback(cluster.close)
            cluster.start()
        if kept:
            kept.wait_ready()
        yield Services(
            database_url=cluster.url if cluster else database_url,
            redis_url=kept.url if kept else redis_url,
            postgres=cluster,
            valkey=kept,
        )
