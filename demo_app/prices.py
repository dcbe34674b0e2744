"""``PUT /products/{id}/price``: a write, and the purge of the answers that it made stale."""

from __future__ import annotations

from decimal import Decimal

from starlette.requests import Request
from starlette.responses import Response

from demo_app.catalogue import BY_PRICE
from demo_app.problems import Refused
from demo_app.reading import Query, path_id, read_fields
from demo_app.replies import JSON
from sipup_middleware.database import Facade

__all__ = ("set_price",)

_LOWEST, _HIGHEST = Decimal("0.01"), Decimal("1000000.00")


async def set_price(request: Request) -> Response:
    """Give a product another price, which every list and page shows from the next request on."""
    request.app.state.api_key.check(request)
    Query(request).check()
    product_id = path_id(request)
    fields = await read_fields(request, "price", example='{"price": "12.34"}')
    price = fields.money("price", lowest=_LOWEST, highest=_HIGHEST)
    fields.check()
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
