"""``PUT /products/{id}/price``: a write, and the purge of the answers that it made stale."""

from __future__ import annotations

import re
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from demo_app.catalogue import BY_PRICE
from demo_app.problems import Refused
from demo_app.reading import Query, path_id
from demo_app.replies import JSON
from sipup_middleware.database import Facade

__all__ = ("set_price",)

_LARGEST_BODY = 1024
_PRICE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")
_LOWEST, _HIGHEST = Decimal("0.01"), Decimal("1000000.00")


async def set_price(request: Request) -> Response:
    """Give a product another price, which every list and page shows from the next request on."""
    request.app.state.api_key.check(request)
    Query(request).check()
    product_id, price = path_id(request), _price(await _document(request))
    sipup = request.state.sipup
    stale: list[str] = []
    try:
        async with sipup.db.transaction():
            supplier_id = await _supplier_of(sipup.db, product_id)
            await sipup.db.execute("UPDATE products SET price = $2 WHERE id = $1", product_id, price)
            stale = [f"product:{product_id}", f"supplier:{supplier_id}", BY_PRICE]
    finally:  # also where the COMMIT was cut off, and nobody knows its outcome
        if stale:
            await sipup.store.invalidate(tags=stale)
    return JSON({"id": product_id, "price": price})


async def _supplier_of(db: Facade, product_id: int) -> int:
    """Lock the product, and return whose it is."""
    row = await db.fetchrow(
        "SELECT supplier_id, discontinued FROM products WHERE id = $1 FOR UPDATE", product_id
    )
    if row is None:
        raise Refused(404, {"id": "no such product"})
    if row["discontinued"]:
        raise Refused(409, {"id": "this product is discontinued: its price is final"})
    return int(row["supplier_id"])


async def _document(request: Request) -> dict[str, Any]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Refused(415, {"Content-Type": "must be application/json"})
    try:
        document = orjson.loads(await _body(request))
    except orjson.JSONDecodeError:
        raise Refused(400, {"body": "must be JSON"}) from None
    if not isinstance(document, dict):
        raise Refused(400, {"body": 'must be an object like {"price": "12.34"}'})
    return document


async def _body(request: Request) -> bytes:
    body = b""
    try:
        async with aclosing(request.stream()) as chunks:  # trio minds a generator left in the middle
            async for chunk in chunks:
                body += chunk
                if len(body) > _LARGEST_BODY:
                    raise Refused(413, {"body": f"must be at most {_LARGEST_BODY} bytes"})
    except ClientDisconnect:
        raise Refused(400, {"body": "ended early"}) from None
    return body


def _price(document: dict[str, Any]) -> Decimal:
    faults = {name[:40]: "unknown field; known: price" for name in document if name != "price"}
    given = document.get("price")
    price = Decimal(given) if isinstance(given, str) and _PRICE.fullmatch(given) else None
    if price is None:
        faults["price"] = 'must be a string of digits like "12.34"'
    elif not _LOWEST <= price <= _HIGHEST:
        faults["price"] = f"must be from {_LOWEST} to {_HIGHEST}"
    if faults or price is None:
        raise Refused(400, faults)
    return price.quantize(_LOWEST)
