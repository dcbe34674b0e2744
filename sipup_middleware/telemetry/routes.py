"""Which route served a request: read from the scope after the call, in each host's own words.

A label is a template, never what the client sent: path parameters that a Mount wrote into ``root_path`` are
put back as ``{name}``; where that fails, the request is `UNMATCHED`.

A host that keeps its route to itself, or a bare callable, tells it by ``scope["path_template"]``. In Quart::

    @app.before_request
    async def tell_the_route():
        request.scope["path_template"] = request.url_rule and request.url_rule.rule  # no rule: no such page
"""

from __future__ import annotations

from typing import Any

from starlette.routing import Mount
from starlette.types import Scope

__all__ = ("UNMATCHED", "template")

UNMATCHED = "__unmatched__"
"""No route served the request, or the host does not tell."""


def template(scope: Scope, root_path: str) -> str:
    """Return the template of the route that served *scope*; *root_path* is the scope's before the call."""
    try:
        route = scope["route"]
        path: str = route.path_format
    except (KeyError, AttributeError):
        return _of_other_hosts(scope, root_path)
    if "fastapi" in scope:
        included = scope["fastapi"].get("effective_route_context")
        if included is not None and included.original_route is route:
            path = included.path_format  # with the prefixes of the routers that include the route
    if "app_root_path" not in scope or scope.get("root_path", "") == root_path:
        return path
    return _mounted(scope, root_path, "/{path}" if isinstance(route, Mount) else path)


def _of_other_hosts(scope: Scope, root_path: str) -> str:
    if path := scope.get("path_template"):  # Litestar, and who tells it by hand
        return str(path)
    connexion = (scope.get("extensions") or {}).get("connexion_routing") or {}
    if operation := connexion.get("operation_id"):
        return f"{connexion.get('api_base_path', '')}#{operation}"
    if "app_root_path" in scope and scope.get("root_path", "") != root_path:  # FastAPI names no Mount
        return _mounted(scope, root_path, "/{path}")
    return UNMATCHED


def _mounted(scope: Scope, root_path: str, path: str) -> str:
    """Return *path* behind the templates of the Mounts it is in."""
    before = max(root_path, scope["app_root_path"], key=len)  # an app may set its own root_path first
    prefix = scope["root_path"].removeprefix(before)
    parameters = {
        name: value for name, value in scope.get("path_params", {}).items() if f"{{{name}}}" not in path
    }
    put_back = _put_back(prefix, parameters)
    return UNMATCHED if put_back is None else put_back + path


def _put_back(prefix: str, parameters: dict[str, Any]) -> str | None:
    for name, value in reversed(parameters.items()):
        head, found, tail = f"{prefix}/".rpartition(f"/{value}/")
        if not found:
            return None
        prefix = f"{head}/{{{name}}}/{tail}".removesuffix("/")
    return prefix
