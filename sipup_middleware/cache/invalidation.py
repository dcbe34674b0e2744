"""Which stored answers an unsafe request makes doubtful: RFC 9111, section 4.4; RFC 9875, section 3."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from starlette.types import Scope

from sipup_middleware.asgi import header
from sipup_middleware.cache.groups import group_tags
from sipup_middleware.store.tags import path_of, url_tag

__all__ = ("changed_by",)

_PORTS = {"http": 80, "https": 443}
_LINKS = (b"location", b"content-location")
_GROUPS = b"cache-group-invalidation"


def changed_by(scope: Scope, status: int, headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Return the tags to purge: of the target, and of what Location and Content-Location name on its origin.

    For a response that reports an error, only of the groups that Cache-Group-Invalidation names.
    """
    headers = list(headers)
    grouped = group_tags(scope, [value for name, value in headers if name.lower() == _GROUPS])
    if not 200 <= status < 400:  # noqa: PLR2004 (RFC 9111: a non-error response is a 2xx or 3xx)
        return grouped
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    path = path_of(path.partition(b"?")[0].decode("latin-1"))
    tags = [_tag(path), *grouped]
    base = f"{scope['scheme']}://{(header(scope, b'host') or b'').decode('latin-1')}{path}"
    for name, value in headers:
        if name.lower() in _LINKS and (linked := _same_origin(base, value.decode("latin-1"))) is not None:
            tags.append(_tag(linked))
    return tags


def _tag(path: str) -> str:
    return url_tag(f"http://host{path}")  # with a host, lest a path that begins with // be taken for one


def _same_origin(base: str, link: str) -> str | None:
    """Return the path that *link* names, if it is on the origin of *base*; garbage is on none."""
    try:
        target = urlsplit(urljoin(base, link.strip()))
        return (target.path or "/") if _origin(target) == _origin(urlsplit(base)) else None
    except ValueError:
        return None


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)
