"""Errors as RFC 9457 problem documents that name the field: ``"errors": [{"field": ..., "detail": ...}]``.

A handler raises `Refused`; Starlette's own 404 and 405, and whatever a handler did not expect, look the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from demo_app.replies import JSON

__all__ = ("HANDLERS", "Refused")

_FIELDS = {HTTPStatus.NOT_FOUND: "path", HTTPStatus.METHOD_NOT_ALLOWED: "method"}
_DETAILS = {
    HTTPStatus.NOT_FOUND: "nothing is here; GET / lists what there is",
    HTTPStatus.METHOD_NOT_ALLOWED: "this path does not take this method",
}


class Refused(Exception):
    """Raised to answer *status* with a problem that names each field in *errors* and says what it lacks."""

    def __init__(
        self, status: int, errors: Mapping[str, str], *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, dict(errors))
        self.status = status
        self.errors = errors
        self.headers = headers


def _problem(
    request: Request, status: int, errors: Mapping[str, str], headers: Mapping[str, str] | None = None
) -> Response:
    document: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "errors": [{"field": field, "detail": detail} for field, detail in errors.items()],
    }
    if "sipup" in request.scope:
        document["instance"] = request.scope["sipup"].request_id
    return JSON(
        document,
        status,
        media_type="application/problem+json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 (registered for it)
    return _problem(request, error.status, error.errors, error.headers)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for it)
    status = HTTPStatus(error.status_code)
    errors = {_FIELDS[status]: _DETAILS[status]} if status in _FIELDS else {}
    headers = dict(error.headers or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    return _problem(request, status, errors, headers)


async def _unexpected(request: Request, error: Exception) -> Response:  # noqa: ARG001 (a client learns nothing of it)
    return _problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, {})


HANDLERS: dict[type[Exception], ExceptionHandler] = {
    Refused: _refused,
    HTTPException: _not_found,
    Exception: _unexpected,
}
