"""What the cache needs to know of a request, from one pass over its headers."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from starlette.types import Scope

from sipup_middleware.errors import ConfigurationError

__all__ = (
    "AUTHORIZATION",
    "CONDITIONAL",
    "COOKIE",
    "LONGEST_KEY",
    "NO_STORE",
    "SAFE",
    "HostCheck",
    "Request",
    "check_hosts",
    "key_of",
)

COOKIE, AUTHORIZATION, CONDITIONAL, NO_STORE, _RANGE, _PRECONDITION, _BODY, _REWRITE, _HOSTS = (
    1 << n for n in range(9)
)

LONGEST_KEY = 4096
"""Bytes; a longer URL is not worth the room."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110, section 9.2.1; a method that is unknown is not safe."""

HostCheck = Callable[[bytes], bool]

_FLAGS = {
    b"cookie": COOKIE,
    b"authorization": AUTHORIZATION,
    b"if-none-match": CONDITIONAL,
    b"if-modified-since": CONDITIONAL,
    b"cache-control": NO_STORE,
    b"range": _RANGE,
    b"if-range": _RANGE,
    b"if-match": _PRECONDITION,  # these two are not a cache's to evaluate: RFC 9111, section 4.3.2
    b"if-unmodified-since": _PRECONDITION,
    b"content-length": _BODY,
    b"transfer-encoding": _BODY,
    b"x-original-url": _REWRITE,  # what makes an app serve another URL or method than the one in the key
    b"x-rewrite-url": _REWRITE,
    b"x-http-method": _REWRITE,
    b"x-http-method-override": _REWRITE,
    b"x-method-override": _REWRITE,
}
_REASONS = (
    (_RANGE, "range"),
    (_PRECONDITION, "precondition"),
    (_BODY, "body"),
    (_REWRITE, "rewrite"),
    (_HOSTS, "host"),
)
_BYPASS = sum(flag for flag, _ in _REASONS)


class Request:
    """A request as the cache sees it: made for each, so it holds little and computes once."""

    __slots__ = ("bypass", "flags", "host", "key")

    def __init__(self, scope: Scope, allows: HostCheck | None) -> None:
        flags, host = 0, b""
        for name, value in scope["headers"]:
            if name == b"host":
                if host:
                    flags |= _HOSTS
                host = value.lower()
            elif (flag := _FLAGS.get(name)) is not None and _counts(flag, value):
                flags |= flag
        if not host or (allows is not None and not allows(host)):
            flags |= _HOSTS
        self.flags = flags
        self.host = host
        self.key = b""
        self.bypass: str | None = None
        """Why the store is neither asked nor filled; None = it is."""
        if flags & _BYPASS:
            self.bypass = next(reason for flag, reason in _REASONS if flags & flag)
            return
        self.key = key_of(scope, host)
        if len(self.key) > LONGEST_KEY:
            self.bypass = "length"


def key_of(scope: Scope, host: bytes) -> bytes:
    """Return a name of scheme, host, raw path and raw query that no other four have: lengths part them."""
    path = scope.get("raw_path")
    if path is None:
        path = quote(scope["path"]).encode()
    scheme = scope["scheme"].encode()
    return b"%d %d %d %b%b%b%b" % (
        len(scheme),
        len(host),
        len(path),
        scheme,
        host,
        path,
        scope["query_string"],
    )


def _counts(flag: int, value: bytes) -> bool:
    """Say whether a field of this *value* means what its name announces."""
    if flag == _BODY:
        return value != b"0"
    return flag != NO_STORE or b"no-store" in value.lower()  # RFC 9111, section 5.2.1.5; the rest is advice


def check_hosts(allowed: tuple[str, ...]) -> HostCheck | None:
    """Return what says whether a Host is one of ours; None = every host is.

    ``*.example.com`` stands for any name below example.com; a port never matters.
    """
    if "*" in allowed:
        return None
    exact, below = set[bytes](), list[bytes]()
    for each in allowed:
        name = each.lower().encode()
        if not name or b"*" in name.removeprefix(b"*."):
            raise ConfigurationError(f"allowed_hosts takes names, '*.name' or '*', not {each!r}")
        if name.startswith(b"*."):
            below.append(name[1:])
        else:
            exact.add(name)
    suffixes = tuple(below)

    def allows(host: bytes) -> bool:
        name, colon, port = host.rpartition(b":")
        if not colon or not port.isdigit():
            name = host
        return name in exact or (bool(suffixes) and name.endswith(suffixes))

    return allows
