"""``GET /products``, ``/products/{id}`` and ``/categories``: what is for sale."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from demo_app.problems import Refused
from demo_app.reading import Query, path_id
from demo_app.replies import JSON
from sipup_middleware.database import Facade

__all__ = ("BY_PRICE", "PAGE_SIZE", "categories", "category_id", "numbered", "product", "products")

PAGE_SIZE = 20

BY_PRICE = "products:by-price"
"""The tag of every list whose order a new price may change."""

_ORDERS = {
    "newest": "p.listed_at DESC, p.id DESC",
    "name": "p.name, p.id",
    "price": "p.price, p.id",
    "-price": "p.price DESC, p.id DESC",
}
_LIST = """
SELECT p.id, p.sku, p.name, p.price, p.unit, p.min_quantity, p.stock, p.listed_at,
       c.slug AS category, p.supplier_id, s.name AS supplier
FROM products p JOIN categories c ON c.id = p.category_id JOIN suppliers s ON s.id = p.supplier_id
"""
_COUNT = "SELECT count(*) FROM products p "
_PRODUCT = """
SELECT p.id, p.sku, p.name, p.price, p.unit, p.min_quantity, p.stock, p.discontinued, p.listed_at,
       p.description, c.slug AS category, p.supplier_id, s.name AS supplier, s.country, s.verified,
       (SELECT count(*) FROM order_items i WHERE i.product_id = p.id) AS times_ordered,
       (SELECT count(*) FROM inquiries q WHERE q.product_id = p.id) AS inquiries
FROM products p JOIN categories c ON c.id = p.category_id JOIN suppliers s ON s.id = p.supplier_id
WHERE p.id = $1
"""
_CATEGORIES = """
SELECT c.id, c.slug, c.name, count(p.id) AS products
FROM categories c LEFT JOIN products p ON p.category_id = c.id AND NOT p.discontinued
GROUP BY c.id ORDER BY c.name
"""


async def products(request: Request) -> Response:
    """List what is for sale, a page at a time."""
    query = Query(request, "category", "q", "sort", "page")
    category, text = query.text("category", longest=40), query.text("q", longest=80)
    sort, page = query.choice("sort", _ORDERS, default="newest"), query.page()
    query.check()
    sipup = request.state.sipup

    where, args = await _where(sipup.db, category, text)
    total = await sipup.db.fetchval(_COUNT + where, *args)
    found = numbered(page, total)
    ordered = f"{_LIST}{where} ORDER BY {_ORDERS[sort]} LIMIT {PAGE_SIZE} OFFSET ${len(args) + 1}"
    rows = await sipup.db.fetch(ordered, *args, (page - 1) * PAGE_SIZE)

    sipup.response.tag(*(f"product:{row['id']}" for row in rows))
    if "price" in sort:
        sipup.response.tag(BY_PRICE)
    return JSON({"items": list(map(dict, rows)), **found})


async def product(request: Request) -> Response:
    """Show one product, with how often it was ordered and asked about."""
    Query(request).check()
    row = await request.state.sipup.db.fetchrow(_PRODUCT, path_id(request))
    if row is None:
        raise Refused(404, {"id": "no such product"})
    return JSON(dict(row))


async def categories(request: Request) -> Response:
    """List the categories, each with the number of its products."""
    Query(request).check()
    return JSON({"items": list(map(dict, await request.state.sipup.db.fetch(_CATEGORIES)))})


async def category_id(db: Facade, slug: str) -> int:
    """Return which category that is; raises `Refused` where there is none."""
    number = await db.fetchval("SELECT id FROM categories WHERE slug = $1", slug)
    if number is None:
        raise Refused(400, {"category": "no such category; GET /categories lists them"})
    return int(number)


def numbered(page: int, total: int) -> dict[str, int]:
    """Return what a page of *total* says of itself; raises `Refused` where there are fewer pages."""
    pages = max(1, -(-total // PAGE_SIZE))
    if page > pages:
        raise Refused(404, {"page": f"there are {pages}"})
    return {"page": page, "pages": pages, "size": PAGE_SIZE, "total": total}


async def _where(db: Facade, category: str | None, text: str | None) -> tuple[str, list[object]]:
    """Return the condition, built of our own words, and the client's as its arguments."""
    conditions, args = ["NOT p.discontinued"], list[object]()
    if category is not None:
        args.append(await category_id(db, category))
        conditions.append(f"p.category_id = ${len(args)}")
    if text is not None:
        args.append(f"%{_literal(text)}%")
        conditions.append(f"p.name ILIKE ${len(args)}")
    return f"WHERE {' AND '.join(conditions)}", args


def _literal(text: str) -> str:
    """Return the pattern that matches *text* as it stands."""
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
