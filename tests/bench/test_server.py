"""That the bench runs, answers every question it is asked and leaves nothing behind; never how fast."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from bench import server
from bench.server_fronts import BARE, FRONTS, ORIGIN, program
from bench.server_running import free_ports
from bench.timing import Effort

LEAST = server.Load(rounds=1, seconds=1, connections=2)
TOOLS = ("wrk", "nginx", "varnishd")
EFFORT = Effort(rounds=1, turn=0)
NAMES = ["asgi", "starlette", "sipup", "nginx", "varnish"]
SAID = """\
Running 1s test @ http://127.0.0.1:1/
  47500 requests in 1.00s, 57.00MB read
Requests/sec:  47500.12
Transfer/sec:     57.00MB
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ports that the servers get."""
    chosen = free_ports(len(FRONTS))
    monkeypatch.setattr(server, "free_ports", lambda count: chosen)
    return chosen


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Let these programs not be installed."""
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name, path: None if name in missing else which(name, path=path)
    )


def listening(ports: list[int]) -> list[int]:
    def listens(port: int) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    return [port for port in ports if listens(port)]


@pytest.fixture
def tools() -> None:
    """What the machine must have."""
    try:
        for name in TOOLS:
            program(name)
    except LookupError as missing:
        pytest.skip(str(missing))


@pytest.mark.live
@pytest.mark.usefixtures("tools")
def test_every_figure_and_every_case_is_there_and_nothing_is_left(place: Path, ports: list[int]) -> None:
    found = server.findings(EFFORT, load=LEAST)

    assert [figure.id for figure in found.figures] == ["hit_over_bare", *(f"rps.{name}" for name in NAMES)]
    assert [name for name, case in found.cases.items() if isinstance(case, str)] == []
    assert (list(place.iterdir()), listening(ports)) == ([], [])


def test_a_ctrl_c_leaves_nothing(place: Path, ports: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    def interrupted(port: int, load: server.Load) -> float:
        seen.append(listening(ports))
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "requests_a_second", interrupted)
    monkeypatch.setattr(server, "program", lambda name: name)  # wrk is not asked

    with pytest.raises(KeyboardInterrupt):
        server.findings(EFFORT, load=LEAST)

    assert set(seen[0]) >= set(ports[:3]), "uvicorn's three"
    assert (list(place.iterdir()), listening(ports)) == ([], [])


def test_without_wrk_every_case_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "wrk")

    found = server.findings(EFFORT, load=LEAST)

    assert set(found.cases.values()) == {"LookupError: wrk is not installed: make debian"}
    assert list(found.figures) == []


def test_a_missing_front_is_listed_and_its_figure_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "nginx", "varnishd")
    monkeypatch.setattr(server, "program", lambda name: name)
    monkeypatch.setattr(server, "requests_a_second", lambda port, load: 1000.0)

    found = server.findings(EFFORT, load=LEAST)

    assert found.cases["Starlette + nginx"] == "LookupError: nginx is not installed: make debian"
    assert found.cases["Starlette + Varnish"] == "LookupError: varnishd is not installed: make debian"
    assert [figure.id for figure in found.figures] == [
        "hit_over_bare",
        *(f"rps.{name}" for name in NAMES[:3]),
    ]


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(place: Path, port: int, behind: int) -> list[str]:
        return ["sh", "-c", "echo no such module; exit 1"]

    monkeypatch.setattr(server, "FRONTS", dict.fromkeys((BARE, ORIGIN), (broken, ("a", "b"))))
    monkeypatch.setattr(server, "program", lambda name: name)

    found = server.findings(EFFORT, load=LEAST)

    assert set(found.cases.values()) == {"RuntimeError: did not start: no such module"}


def test_wrk_is_read() -> None:
    assert server.answered(SAID) == 47500.12


@pytest.mark.parametrize("more", ["  Non-2xx or 3xx responses: 7\n", "  Socket errors: connect 0, read 3\n"])
def test_a_figure_of_requests_that_failed_is_none(more: str) -> None:
    with pytest.raises(RuntimeError, match="wrk"):
        server.answered(SAID + more)


def test_versions_of_the_machines_tools_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, *TOOLS)

    assert dict(server.versions()) == {name: f"{name} is not installed: make debian" for name in TOOLS}
