"""``GET /stream``: the price list, a line of JSON a product, sent while it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from demo_app.catalogue import category_id
from demo_app.reading import Query
from demo_app.replies import encode
from sipup_middleware.database import Facade

__all__ = ("PAGE", "stream")

PAGE = 500
"""Products a chunk."""

_PAGE = f"""
SELECT p.id, p.sku, p.name, p.price, p.unit, p.min_quantity, p.stock
FROM products p WHERE p.id > $1 AND ($2::integer IS NULL OR p.category_id = $2) AND NOT p.discontinued
ORDER BY p.id LIMIT {PAGE}
"""  # noqa: S608 (a number of our own)
_MEDIA_TYPE = "application/x-ndjson"
_HEADERS = {"cache-control": "no-store"}


async def stream(request: Request) -> Response:
    """Send the products for sale, of all categories or one, in the order of their ids."""
    query = Query(request, "category")
    slug = query.text("category", longest=40)
    query.check()
    if request.method == "HEAD":
        head = Response(media_type=_MEDIA_TYPE, headers=_HEADERS)
        del head.headers["content-length"]  # which nobody knows before the end
        return head
    db = request.state.sipup.db

    category = None if slug is None else await category_id(db, slug)
    price_list = _PriceList(db, category)
    await price_list.begin()
    return StreamingResponse(price_list, media_type=_MEDIA_TYPE, headers=_HEADERS)


class _PriceList:
    """The chunks, one a page; between two of them no connection is held.

    An iterator and not a generator: a client that leaves in the middle leaves nothing that must be closed.
    """

    def __init__(self, db: Facade, category: int | None) -> None:
        self._db = db
        self._category = category
        self._last = 0
        self._rows: Sequence[dict[str, Any]] = ()

    async def begin(self) -> None:
        """Read the first page: what fails before the response has started is still told by its status."""
        self._rows = await self._page()

    def __aiter__(self) -> _PriceList:
        return self

    async def __anext__(self) -> bytes:
        rows = self._rows or await self._page()
        if not rows:
            raise StopAsyncIteration
        self._last, self._rows = rows[-1]["id"], ()
        return b"".join(encode(row) for row in rows)

    async def _page(self) -> Sequence[dict[str, Any]]:
        return list(map(dict, await self._db.fetch(_PAGE, self._last, self._category)))
