"""A hot standby of a test's PostgreSQL, and a PgBouncer in front of it, from the machine's programs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from pathlib import Path
from urllib.parse import quote

import pytest

from sipup_middleware.services import Postgres
from sipup_middleware.services.server import Server

BOUNCER = """
[databases]
* = host={home} port=5432 user=postgres

[pgbouncer]
unix_socket_dir = {home}
listen_port = 6432
auth_type = any
pool_mode = transaction
default_pool_size = 2
max_client_conn = 500
"""


class Replica(Postgres):
    """Streams from its primary; stopped, it leaves it alone."""

    _name = "replica"

    def __init__(self, primary: Postgres) -> None:
        nest, binaries, home = primary._nest, Path(primary._command[0]).parent, primary._data.parent
        self._data = home / "replica"
        ways = ["-h", str(home), "-U", "postgres", "-D", str(self._data)]
        nest.run("basebackup", [binaries / "pg_basebackup", *ways, "-R", "--checkpoint=fast", "--no-sync"])
        options = {"port": "5433", "listen_addresses": "", "unix_socket_directories": str(home)}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        Server.__init__(self, nest, [binaries / "postgres", "-D", self._data, *words])

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={quote(str(self._data.parent))}&port=5433"


class Bouncer(Server):
    """Lends two server connections to all its clients, a transaction at a time."""

    _name = "pgbouncer"
    _stopping = signal.SIGTERM
    _ending = signal.SIGKILL

    def __init__(self, primary: Postgres) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            pytest.skip("no pgbouncer: apt-get install pgbouncer")
        nest, self._home = primary._nest, primary._data.parent
        settings = self._home / "pgbouncer.ini"
        settings.write_text(BOUNCER.format(home=self._home))
        nest.account.take(settings)
        super().__init__(nest, [program, settings])

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={quote(str(self._home))}&port=6432"

    def _is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self._home / ".s.PGSQL.6432"))
            except OSError:
                return False
        return True
