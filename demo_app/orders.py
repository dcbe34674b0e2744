"""``POST /orders`` and ``GET /me/orders``: an order, what it tells to whom, and what it makes stale."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from demo_app.accounts import buyer_of
from demo_app.catalogue import PAGE_SIZE, numbered
from demo_app.letters import confirmation, order_placed
from demo_app.problems import Refused
from demo_app.reading import Query, read_fields
from demo_app.replies import JSON
from demo_app.reports import sales_of
from sipup_middleware.database import Facade

__all__ = ("my_orders", "place_order")

_LOCK = """
SELECT id, supplier_id, sku, name, price, unit, min_quantity, stock, discontinued
FROM products WHERE id = $1 FOR UPDATE
"""
# One statement: while the product is locked, each round trip is one that the next buyer waits for.
_PLACE = """
WITH taken AS (UPDATE products SET stock = stock - $4::integer WHERE id = $3),
placed AS (
    INSERT INTO orders (buyer_id, supplier_id, status, total, placed_at)
    VALUES ($1, $2, 'placed', $4::integer * $5::numeric, now()) RETURNING id, status, total, placed_at
),
items AS (
    INSERT INTO order_items (order_id, product_id, quantity, unit_price)
    SELECT id, $3, $4::integer, $5::numeric FROM placed
)
SELECT id, status, total, placed_at FROM placed
"""
_COUNT = "SELECT count(*) FROM orders WHERE buyer_id = $1"
_MINE = f"""
SELECT o.id, o.status, o.total, o.placed_at, o.supplier_id, s.name AS supplier
FROM orders o JOIN suppliers s ON s.id = o.supplier_id
WHERE o.buyer_id = $1 ORDER BY o.placed_at DESC, o.id DESC LIMIT {PAGE_SIZE} OFFSET $2
"""  # noqa: S608 (a number of our own)
_ITEMS = """
SELECT i.order_id, i.product_id, p.sku, p.name, i.quantity, i.unit_price
FROM order_items i JOIN products p ON p.id = i.product_id
WHERE i.order_id = ANY($1::bigint[]) ORDER BY i.id
"""


async def place_order(request: Request) -> Response:
    """Take an order: its rows and its messages are committed together, or none of them is."""
    buyer_id = request.app.state.api_key.buyer(request)
    Query(request).check()
    fields = await read_fields(request, "product_id", "quantity", example='{"product_id": 1, "quantity": 50}')
    product_id, quantity = fields.whole("product_id"), fields.whole("quantity")
    fields.check()
    sipup = request.state.sipup
    stale: list[str] = []
    try:
        async with sipup.db.transaction():
            buyer = await buyer_of(sipup.db, buyer_id)
            product = await _available(sipup.db, product_id, quantity)
            order = await _place(sipup.db, buyer_id, product, quantity)
            stale = [f"product:{product_id}", sales_of(f"{order['placed_at']:%Y-%m}")]
            mail = await sipup.jobs.enqueue(
                "email.send", confirmation(buyer, product, order), priority="high"
            )
            webhook = await _tell_supplier(request, order_placed(buyer, product, order), order["supplier_id"])
    finally:  # also where the COMMIT was cut off, and nobody knows its outcome
        if stale:
            await sipup.store.invalidate(tags=stale)
    return JSON(
        {**order, "jobs": {"confirmation": mail.id, "webhook": webhook}},
        201,
        headers={"cache-control": "no-store", "location": "/me/orders"},
    )


async def my_orders(request: Request) -> Response:
    """List the buyer's own orders, the newest first, each with what was ordered."""
    buyer_id = request.app.state.api_key.buyer(request)
    query = Query(request, "page")
    page = query.page()
    query.check()
    db = request.state.sipup.db

    found = numbered(page, await db.fetchval(_COUNT, buyer_id))
    orders = await db.fetch(_MINE, buyer_id, (page - 1) * PAGE_SIZE)
    items = defaultdict(list)
    for row in await db.fetch(_ITEMS, [order["id"] for order in orders]):
        item = dict(row)
        items[item.pop("order_id")].append(item)
    listed = [{**order, "items": items[order["id"]]} for order in orders]
    return JSON({"items": listed, **found}, headers={"cache-control": "private, no-store"})


async def _available(db: Facade, product_id: int, quantity: int) -> Mapping[str, Any]:
    """Lock the product until the transaction ends; raises `Refused` where it cannot be sold like that."""
    product = await db.fetchrow(_LOCK, product_id)
    if product is None:
        raise Refused(404, {"product_id": "no such product"})
    if product["discontinued"]:
        raise Refused(409, {"product_id": "this product is discontinued"})
    if quantity < product["min_quantity"]:
        raise Refused(409, {"quantity": f"must be at least {product['min_quantity']}"})
    if quantity > product["stock"]:
        raise Refused(409, {"quantity": f"must be at most {product['stock']}: no more are in stock"})
    return dict(product)


async def _place(db: Facade, buyer_id: int, product: Mapping[str, Any], quantity: int) -> dict[str, Any]:
    """Write the order, and return it."""
    product_id, supplier_id, price = product["id"], product["supplier_id"], product["price"]
    placed = await db.fetchrow(_PLACE, buyer_id, supplier_id, product_id, quantity, price)
    assert placed is not None  # noqa: S101 (an INSERT of one row returns it)
    return {
        "id": placed["id"],
        "status": placed["status"],
        "product_id": product_id,
        "quantity": quantity,
        "unit_price": price,
        "total": placed["total"],
        "supplier_id": supplier_id,
        "placed_at": placed["placed_at"],
    }


async def _tell_supplier(request: Request, event: Mapping[str, Any], supplier_id: int) -> str | None:
    """Enqueue the supplier's webhook; None where DEMO_WEBHOOK_URL does not say where suppliers listen."""
    base = request.app.state.webhook_url
    if not base:
        return None
    payload = {"url": f"{base}/suppliers/{supplier_id}", "event": event}
    handle = await request.state.sipup.jobs.enqueue("webhook.deliver", payload, priority="high")
    return str(handle.id)
