"""What the cache needs to know of a request, from one pass over its headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import quote

from starlette.types import Scope

from sipup_middleware.errors import ConfigurationError

__all__ = (
    "ADVICE",
    "AUTHORIZATION",
    "CONDITIONAL",
    "COOKIE",
    "LONGEST_KEY",
    "NO_STORE",
    "QUERY",
    "RANGE",
    "SAFE",
    "HostCheck",
    "Request",
    "VaryKey",
    "check_hosts",
    "key_of",
    "provokes_errors",
)

(
    COOKIE,
    AUTHORIZATION,
    CONDITIONAL,
    RANGE,
    QUERY,
    ADVICE,
    NO_STORE,
    _PRECONDITION,
    _BODY,
    _REWRITE,
    _HOSTS,
) = (1 << n for n in range(11))

LONGEST_KEY = 4096
"""Bytes; a longer URL is not worth the room."""

_LONG = 4096
"""Bytes of header values, half of what the strictest of servers take."""

_CONTROLS = bytes({*range(32), 127} - {9})

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110, section 9.2.1; a method that is unknown is not safe."""

HostCheck = Callable[[bytes], bool]
VaryKey = Callable[[Scope], bytes]

_REWRITES = (
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
    b"x-original-url",
    b"x-override-url",
    b"x-rewrite-url",
)
"""What makes an app serve another URL or method than the one in the key."""

_FLAGS = {
    b"cookie": COOKIE,
    b"authorization": AUTHORIZATION,
    b"if-none-match": CONDITIONAL,
    b"if-modified-since": CONDITIONAL,
    b"cache-control": ADVICE,
    b"pragma": ADVICE,
    b"range": RANGE,
    b"if-range": RANGE,
    b"if-match": _PRECONDITION,  # these two are not a cache's to evaluate: RFC 9111, section 4.3.2
    b"if-unmodified-since": _PRECONDITION,
    b"content-length": _BODY,
    b"transfer-encoding": _BODY,
    **dict.fromkeys(_REWRITES, _REWRITE),
    **dict.fromkeys((name.replace(b"-", b"_") for name in _REWRITES), _REWRITE),  # CGI's names know no hyphen
}
_REASONS = (
    (_PRECONDITION, "precondition"),
    (_BODY, "body"),
    (_REWRITE, "rewrite"),
    (_HOSTS, "host"),
)
_BYPASS = sum(flag for flag, _ in _REASONS)


class Request:
    """A request as the cache sees it: made for each, so it holds little and computes once."""

    __slots__ = ("bypass", "compares", "flags", "key")

    def __init__(self, scope: Scope, allows: HostCheck | None, vary_key: VaryKey | None = None) -> None:  # noqa: C901 (one pass over the headers)
        flags, given = QUERY if scope["query_string"] else 0, None
        for name, value in scope["headers"]:
            if name == b"host":
                if given is not None:
                    flags |= _HOSTS
                given = value
            elif (flag := _FLAGS.get(name)) is not None:
                flags |= flag if flag < ADVICE else _read(flag, value)
        host = b"" if given is None else given.lower()
        if not host or (allows is not None and not allows(host)):
            flags |= _HOSTS
        if host != given:  # it is the same host, but not to every app: its answer is not for the others
            flags |= NO_STORE
        self.flags = flags
        self.compares = False
        """Whether the app answers though the store could, to compare."""
        self.key = b""
        self.bypass: str | None = None
        """Why the store is neither asked nor filled; None = it is."""
        if flags & _BYPASS:
            self.bypass = next(reason for flag, reason in _REASONS if flags & flag)
            return
        self.key = key = key_of(scope, host)
        if vary_key is not None:
            self.key = key = _keyed(vary_key(scope), key)
        if len(key) > LONGEST_KEY:
            self.bypass = "length"


def provokes_errors(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Say whether a request may fail because of its *headers*: they are many, or hold what none should.

    Nguyen, Lo Iacono, Federrath: Your Cache Has Fallen, CCS 2019.
    """
    values = b"".join([value for _, value in headers])
    return len(values) > _LONG or len(values.translate(None, _CONTROLS)) < len(values)


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


def _keyed(part: bytes, key: bytes) -> bytes:
    return b"by %d %b%b" % (len(part), part, key)


def _read(flag: int, value: bytes) -> int:
    """Return what a field of this *value* means, where its name alone does not tell."""
    if flag == ADVICE:  # RFC 9111, section 5.2.1.5: no-store is no advice
        return ADVICE | NO_STORE if b"no-store" in value.lower() else ADVICE
    return 0 if flag == _BODY and value == b"0" else flag


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
