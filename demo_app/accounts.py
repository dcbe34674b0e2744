"""``POST /login``: who a buyer is, and the key that it buys with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from demo_app.keys import CHALLENGE
from demo_app.problems import Refused
from demo_app.reading import Query, read_fields
from demo_app.replies import JSON
from sipup_middleware.database import Facade

__all__ = ("buyer_of", "login")

_EXAMPLE = '{"email": "purchasing@keller-3.example", "password": "demo"}'
_LONGEST = 200
_BY_EMAIL = "SELECT id, company, country FROM buyers WHERE email = $1"
_BY_ID = "SELECT id, company, email, country FROM buyers WHERE id = $1"


async def login(request: Request) -> Response:
    """Give a buyer its API key; a wrong password and an e-mail of nobody's are refused alike."""
    Query(request).check()
    fields = await read_fields(request, "email", "password", example=_EXAMPLE)
    email, password = fields.text("email", longest=_LONGEST), fields.text("password", longest=_LONGEST)
    fields.check()
    keys, db = request.app.state.api_key, request.state.sipup.db

    known = keys.is_password(password)
    buyer = await db.fetchrow(_BY_EMAIL, email.strip().lower())
    if buyer is None or not known:
        raise Refused(
            401, {"password": "no buyer has this e-mail address and this password"}, headers=CHALLENGE
        )
    return JSON(
        {"buyer": dict(buyer), "api_key": keys.of_buyer(buyer["id"])}, headers={"cache-control": "no-store"}
    )


async def buyer_of(db: Facade, buyer_id: int) -> Mapping[str, Any]:
    """Return who buys; raises `Refused` for the key of a buyer that this database does not have."""
    buyer = await db.fetchrow(_BY_ID, buyer_id)
    if buyer is None:
        raise Refused(401, {"X-API-Key": "is of a buyer who is not there any more"}, headers=CHALLENGE)
    return dict(buyer)
