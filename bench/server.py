"""How many requests a second a real server answers, without a cache, from ours, and from nginx and Varnish.

The app answers a kilobyte of JSON, fresh for an hour, on uvicorn with one worker; nginx's proxy_cache and
Varnish stand before the same app and have all of it in memory or the kernel's cache. wrk asks for one URL, on
one thread and 64 connections that stay open; the cases take turns, each answers alone. A request is timed by
what wrk counts: a second over the requests answered in it. wrk and the server share this machine, so of a
server that needs less than wrk does, the figure is wrk's own.

``hit_over_bare`` is our hits a second over the requests a second of an ASGI app that only answers.
"""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.frame import Case, Figure, Findings, run
from bench.server_apps import BODY, PATH
from bench.server_fronts import BARE, FRONTS, ORIGIN, OURS, program
from bench.server_running import free_ports, serving
from bench.timing import Effort, Timing

__all__ = ("QUESTION", "Load", "findings")

QUESTION = (
    "How many requests a second does a server answer from a cache"
    " (1 worker, wrk, 64 connections, keep-alive, 1 kB of JSON)?"
)
PACKAGES = ("uvicorn", "httptools", "uvloop", "starlette")
TOOLS = {"wrk": "-v", "nginx": "-v", "varnishd": "-V"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How long each case is asked."""

    rounds: int
    seconds: int
    connections: int = 64


LONG, QUICK = Load(rounds=5, seconds=4), Load(rounds=3, seconds=2)


def requests_a_second(port: int, load: Load) -> float:
    """Have wrk ask. Raises RuntimeError where not all was answered well."""
    url = f"http://127.0.0.1:{port}{PATH}"
    options = ("-t1", f"-c{load.connections}", f"-d{load.seconds}s")
    said = subprocess.run([program("wrk"), *options, url], capture_output=True, text=True, check=True).stdout  # noqa: S603 (a tool that we found)
    return answered(said)


def answered(said: str) -> float:
    """Return the requests a second that wrk *said* were answered, all of them well."""
    found = re.search(r"Requests/sec:\s*([\d.]+)", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"wrk: {said}")
    return float(found[1])


def look(port: int, tells: tuple[str, str]) -> None:
    """Ask twice, and see that the second answer is the whole body, with the header that *tells* the case."""
    name, value = tells
    _ask(port)
    reply, body = _ask(port)
    assert (reply.status, body) == (200, BODY), f"answered {reply.status}"
    assert value in reply.getheader(name, ""), f"no {value!r} in {name!r}"


def _ask(port: int) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", PATH)
        reply = connection.getresponse()
        return reply, reply.read()
    finally:
        connection.close()


def started(opened: ExitStack) -> Iterator[tuple[str, int | str]]:
    """Start each of `FRONTS` and yield its port, or the error of what cannot run."""
    ports = dict(zip(FRONTS, free_ports(len(FRONTS)), strict=True))
    home = Path(opened.enter_context(TemporaryDirectory(prefix="sipup-bench-")))
    for number, (name, (front, tells)) in enumerate(FRONTS.items()):
        place = home / str(number)
        place.mkdir()
        try:
            program("wrk")
            command = front(place, ports[name], ports[ORIGIN])
            opened.enter_context(serving(command, ports[name], log=place / "log"))
            look(ports[name], tells)
        except Exception as error:  # noqa: BLE001 (whatever keeps a peer from running is the finding)
            yield name, f"{type(error).__name__}: {error}"
        else:
            yield name, ports[name]


def measured(load: Load) -> dict[str, Case]:
    """Ask each in turn, so many rounds."""
    with ExitStack() as opened:
        fronts = dict(started(opened))
        able = {name: port for name, port in fronts.items() if isinstance(port, int)}
        rates: dict[str, list[float]] = {name: [] for name in able}
        for _ in range(load.rounds):
            for name, port in able.items():
                rates[name].append(requests_a_second(port, load))
    return {name: port if isinstance(port, str) else _timing(rates[name]) for name, port in fronts.items()}


def _timing(rates: list[float]) -> Timing:
    return Timing(1e6 / max(rates), 1e6 / median(rates))


def figures(cases: Mapping[str, Case]) -> Iterator[Figure]:
    """Answer from what was measured; what a missing server would be needed for is left out."""
    best = {name: 1e6 / case.best for name, case in cases.items() if isinstance(case, Timing)}
    if best.keys() >= {BARE, OURS}:
        yield Figure("hit_over_bare", best[OURS] / best[BARE], "x", aim=">= 0.8")
    for name, rate in best.items():
        yield Figure(f"rps.{name.split()[-1].lower()}", rate, "/s")


def findings(effort: Effort, *, load: Load | None = None) -> Findings:
    """Start everything, ask, and leave nothing behind."""
    cases = measured(load or (LONG if effort.is_long else QUICK))
    return Findings(cases=cases, figures=list(figures(cases)))


def versions() -> Iterator[tuple[str, str]]:
    """Say which tools of the machine took part."""
    for name, option in TOOLS.items():
        try:
            done = subprocess.run([program(name), option], capture_output=True, text=True, check=False)  # noqa: S603 (as above)
            found = re.search(r"\d+\.\d+[\d.]*", done.stdout + done.stderr)
            yield name, found[0] if found else "of unknown version"
        except LookupError as missing:
            yield name, str(missing)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to be stopped is a Ctrl-C: all is put away
    run(QUESTION, findings, packages=PACKAGES, more=dict(versions()))
