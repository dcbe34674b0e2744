"""Real workers: processes that run ``saq tests.jobs.shop.worker``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from sipup_middleware.jobs import OpenJobs
from tests.jobs.shop import jobs_at

__all__ = ("Crew", "Worker")

_ROOT = Path(__file__).parents[2]


@dataclass
class Worker:
    """A process, and what it wrote to its log."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def stop(self) -> None:
        """Ask it to end."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self, *, within: float) -> int:
        """Wait for its end; return its exit code."""
        return self.process.wait(within)


@dataclass
class Crew:
    """The workers of one queue."""

    jobs_url: str
    database_url: str
    queue: str
    workers: list[Worker] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    @classmethod
    @contextmanager
    def of(cls, jobs_url: str, database_url: str, queue: str | None = None) -> Iterator[Crew]:
        """End what was started, when it is over."""
        crew = cls(jobs_url, database_url, queue or f"w{token_hex(4)}")
        with crew._stack:
            yield crew

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OpenJobs]:
        """Open their queue, from our side."""
        async with jobs_at(self.jobs_url, queue=self.queue).open() as jobs:
            yield jobs

    def start(self, *, concurrency: int = 10, grace: int = 5, options: tuple[str, ...] = ()) -> Worker:
        """Start a worker; it is at work when the queue counts it."""
        directory = Path(self._stack.enter_context(TemporaryDirectory(prefix="sipup-worker-")))
        log = directory / "log"
        environ = {
            **os.environ,
            "SHOP_JOBS_URL": self.jobs_url,
            "SHOP_DATABASE_URL": self.database_url,
            "SHOP_QUEUE": self.queue,
            "SHOP_CONCURRENCY": str(concurrency),
            "SHOP_GRACE": str(grace),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "saq", "tests.jobs.shop.worker", *options],
                cwd=_ROOT,
                env=environ,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._stack.callback(_end, process)
        self.workers.append(Worker(process, log))
        return self.workers[-1]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
