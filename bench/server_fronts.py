"""What answers: an app on uvicorn, or one of the caches that people put in front of it.

Each takes a directory, its own port and that of the app behind it, writes what it reads there, and returns
the command that starts it. nginx and Varnish run as we do, with one process to answer, as uvicorn has one.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

__all__ = ("BARE", "FRONTS", "ORIGIN", "OURS", "Front", "program")

BARE, ORIGIN, OURS = "bare ASGI", "Starlette", "Starlette + sipup"

Front = Callable[[Path, int, int], list[str]]

_ADMIN = "/usr/sbin"
"""Where Debian has servers, and only root looks."""

_NGINX = """\
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  proxy_cache_path cache keys_zone=answers:8m;
  keepalive_requests 1000000000;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{behind};
      proxy_cache answers;
      add_header X-Cache $upstream_cache_status;
    }}
  }}
}}
"""
_VARNISH = """\
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{behind}"; }}
sub vcl_deliver {{ if (obj.hits > 0) {{ set resp.http.X-Cache = "HIT"; }} }}
"""


def program(name: str) -> str:
    """Return where *name* is. Raises LookupError that says how to get it."""
    if found := shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_ADMIN}"):
        return found
    raise LookupError(f"{name} is not installed: make debian")


def _uvicorn(app: str, place: Path, port: int, behind: int) -> list[str]:
    options = ("--port", str(port), "--log-level", "warning", "--no-access-log")
    return [sys.executable, "-m", "uvicorn", f"bench.server_apps:{app}", *options]


def _nginx(place: Path, port: int, behind: int) -> list[str]:
    user = "user root;" if os.geteuid() == 0 else ""  # else its worker could not enter our directory
    config = place / "nginx.conf"
    config.write_text(_NGINX.format(user=user, port=port, behind=behind))
    return [program("nginx"), "-e", "stderr", "-p", str(place), "-c", str(config)]


def _varnish(place: Path, port: int, behind: int) -> list[str]:
    config = place / "default.vcl"
    config.write_text(_VARNISH.format(behind=behind))
    listen = ("-a", f"127.0.0.1:{port}", "-T", "none", "-j", "none")
    return [program("varnishd"), "-F", *listen, "-n", str(place), "-f", str(config), "-s", "malloc,64m"]


FRONTS: dict[str, tuple[Front, tuple[str, str]]] = {
    BARE: (partial(_uvicorn, "bare"), ("content-type", "json")),
    ORIGIN: (partial(_uvicorn, "plain"), ("cache-control", "max-age")),
    OURS: (partial(_uvicorn, "cached"), ("cache-status", "hit")),
    "Starlette + nginx": (_nginx, ("x-cache", "HIT")),
    "Starlette + Varnish": (_varnish, ("x-cache", "HIT")),
}
"""How each is started, and the response header that tells it, or its hits, apart."""
