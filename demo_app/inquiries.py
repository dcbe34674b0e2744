"""``POST /inquiries``: a buyer asks a supplier about a product."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from demo_app.accounts import buyer_of
from demo_app.letters import inquiry
from demo_app.problems import Refused
from demo_app.reading import Query, read_fields
from demo_app.replies import JSON

__all__ = ("ask",)

_EXAMPLE = '{"product_id": 1, "quantity": 500, "message": "What is your lead time?"}'
_LONGEST = 2000
_LARGEST_BODY = 16 << 10
_PRODUCT = "SELECT id, supplier_id, sku, name, unit FROM products WHERE id = $1"
_ASK = """
INSERT INTO inquiries (product_id, buyer_id, quantity, message, status, created_at)
VALUES ($1, $2, $3, $4, 'open', now()) RETURNING id, product_id, quantity, message, status, created_at
"""


async def ask(request: Request) -> Response:
    """Take an inquiry, and tell the supplier of it: both are committed, or neither is."""
    buyer_id = request.app.state.api_key.buyer(request)
    Query(request).check()
    fields = await read_fields(
        request, "product_id", "quantity", "message", example=_EXAMPLE, largest=_LARGEST_BODY
    )
    product_id, quantity = fields.whole("product_id"), fields.whole("quantity")
    message = fields.text("message", longest=_LONGEST)
    fields.check()
    sipup = request.state.sipup
    stale: list[str] = []
    try:
        async with sipup.db.transaction():
            buyer = await buyer_of(sipup.db, buyer_id)
            product = await sipup.db.fetchrow(_PRODUCT, product_id)
            if product is None:
                raise Refused(404, {"product_id": "no such product"})
            asked = await sipup.db.fetchrow(_ASK, product_id, buyer_id, quantity, message)
            stale = [f"product:{product_id}"]
            mail = await sipup.jobs.enqueue("email.send", inquiry(buyer, product, asked))
    finally:  # also where the COMMIT was cut off, and nobody knows its outcome
        if stale:
            await sipup.store.invalidate(tags=stale)
    return JSON({**asked, "jobs": {"notification": mail.id}}, 201, headers={"cache-control": "no-store"})
