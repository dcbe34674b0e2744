"""What buyers and suppliers are told, and the tasks that tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sipup_middleware.jobs.catalog import email, webhook

__all__ = ("TASKS", "confirmation", "inquiry", "order_placed")

TASKS = (email(), webhook(allow=("127.0.0.0/8", "::1/128")))
"""The demo's suppliers listen on its own machine, where a stranger's URL must not lead."""

_Row = Mapping[str, Any]

_CONFIRMATION = """\
Dear purchasing team of {company},

thank you for your order. It was placed on {placed_at:%d %B %Y at %H:%M} UTC.

  Order        {id}
  Product      {name}
  SKU          {sku}
  Quantity     {quantity} ({unit})
  Unit price   {unit_price}
  Total        {total}

The supplier confirms it next. Your orders are listed at GET /me/orders.

The sipup marketplace
"""
_INQUIRY = """\
Dear sales team,

{company} asks about {quantity} of this product ({unit}):

  {name}
  SKU {sku}

They write:

{quoted}

Your answer goes to {email}; this is inquiry {id}.

The sipup marketplace
"""


def confirmation(buyer: _Row, product: _Row, order: _Row) -> dict[str, Any]:
    """Return the e-mail that tells a buyer what it ordered."""
    return {
        "to": buyer["email"],
        "subject": f"Your order {order['id']}: {order['quantity']} x {product['sku']}",
        "text": _CONFIRMATION.format_map({**product, **order, "company": buyer["company"]}),
    }


def order_placed(buyer: _Row, product: _Row, order: _Row) -> dict[str, Any]:
    """Return the event that tells a supplier what was ordered, as Standard Webhooks shapes it."""
    placed_at = order["placed_at"].isoformat()
    return {
        "type": "order.placed",
        "timestamp": placed_at,
        "data": {
            "order_id": order["id"],
            "buyer": {"id": buyer["id"], "company": buyer["company"], "country": buyer["country"]},
            "product_id": product["id"],
            "sku": product["sku"],
            "quantity": order["quantity"],
            "unit_price": str(order["unit_price"]),
            "total": str(order["total"]),
            "placed_at": placed_at,
        },
    }


def inquiry(buyer: _Row, product: _Row, asked: _Row) -> dict[str, Any]:
    """Return the e-mail that tells a supplier what a buyer asks."""
    quoted = "\n".join(f"> {line}" for line in asked["message"].splitlines())
    said = {**product, **asked, "company": buyer["company"], "email": buyer["email"], "quoted": quoted}
    return {
        "to": f"sales@supplier-{product['supplier_id']}.example",
        "reply_to": buyer["email"],
        "subject": f"Inquiry {asked['id']}: {asked['quantity']} x {product['sku']}",
        "text": _INQUIRY.format_map(said),
    }
