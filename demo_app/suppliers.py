"""``GET /suppliers/{id}``: who sells."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from demo_app.problems import Refused
from demo_app.reading import Query, path_id
from demo_app.replies import JSON

__all__ = ("supplier",)

_SUPPLIER = """
SELECT s.id, s.name, s.city, s.country, s.verified, s.joined_on,
       (SELECT count(*) FROM products p WHERE p.supplier_id = s.id AND NOT p.discontinued) AS products
FROM suppliers s WHERE s.id = $1
"""
_LATEST = """
SELECT p.id, p.sku, p.name, p.price, p.unit, p.listed_at
FROM products p WHERE p.supplier_id = $1 AND NOT p.discontinued
ORDER BY p.listed_at DESC, p.id DESC LIMIT 5
"""


async def supplier(request: Request) -> Response:
    """Show one supplier, the number of its products, and the latest of them."""
    Query(request).check()
    number, db = path_id(request), request.state.sipup.db
    row = await db.fetchrow(_SUPPLIER, number)
    if row is None:
        raise Refused(404, {"id": "no such supplier"})
    return JSON({**row, "latest": list(map(dict, await db.fetch(_LATEST, number)))})
