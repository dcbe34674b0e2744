"""``GET /reports/sales?month=2026-05``: a month's trade, added up from its orders."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from demo_app.reading import Query
from demo_app.replies import JSON

__all__ = ("sales", "sales_of")

_MONTH = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])")
_DECEMBER = 12
_TOTALS = """
SELECT count(*) AS orders, count(DISTINCT buyer_id) AS buyers, coalesce(sum(total), 0.00) AS revenue,
       coalesce(round(avg(total), 2), 0.00) AS average_order
FROM orders WHERE placed_at >= $1 AND placed_at < $2 AND status <> 'cancelled'
"""
_BY_CATEGORY = """
SELECT c.slug, c.name, count(DISTINCT o.id) AS orders, sum(i.quantity) AS units,
       sum(i.quantity * i.unit_price) AS revenue
FROM orders o
JOIN order_items i ON i.order_id = o.id
JOIN products p ON p.id = i.product_id
JOIN categories c ON c.id = p.category_id
WHERE o.placed_at >= $1 AND o.placed_at < $2 AND o.status <> 'cancelled'
GROUP BY c.id ORDER BY revenue DESC, c.id
"""
_TOP_SUPPLIERS = """
SELECT s.id, s.name, s.country, count(*) AS orders, sum(o.total) AS revenue
FROM orders o JOIN suppliers s ON s.id = o.supplier_id
WHERE o.placed_at >= $1 AND o.placed_at < $2 AND o.status <> 'cancelled'
GROUP BY s.id ORDER BY revenue DESC, s.id LIMIT 10
"""


async def sales(request: Request) -> Response:
    """Add up one month: in all, by category, and the ten suppliers that sold most."""
    query = Query(request, "month")
    month = query.match("month", _MONTH, example="2026-05")
    query.check()
    span, db = _span(month), request.state.sipup.db
    request.state.sipup.response.tag(sales_of(month))

    async with db.transaction(isolation="repeatable_read", readonly=True):
        totals = await db.fetchrow(_TOTALS, *span)
        by_category = await db.fetch(_BY_CATEGORY, *span)
        top_suppliers = await db.fetch(_TOP_SUPPLIERS, *span)
    return JSON(
        {
            "month": month,
            **totals,
            "by_category": list(map(dict, by_category)),
            "top_suppliers": list(map(dict, top_suppliers)),
        }
    )


def sales_of(month: str) -> str:
    """Return the tag of that month's report: what an order placed in it makes stale."""
    return f"sales:{month}"


def _span(month: str) -> tuple[datetime, datetime]:
    """Return when the month begins and when the next one does."""
    first = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
    after = (
        first.replace(year=first.year + 1, month=1)
        if first.month == _DECEMBER
        else first.replace(month=first.month + 1)
    )
    return first, after
