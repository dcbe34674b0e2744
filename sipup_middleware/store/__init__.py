"""Where cached things live: in this process first, then in Redis or Valkey, until a tag they carry is purged.

Open one, keep things, purge them by what they depend on::

    import anyio

    from sipup_middleware.store import Store

    store = Store()                                     # or Store("redis://cache:6379", max_bytes=64 << 20)

    async def top_products() -> list[str]:
        return ["chair", "table"]

    async def main() -> None:
        async with store.open() as cache:
            top = await cache.get_or_set("top", top_products, ttl=120, tags=["products"])
            assert top == ["chair", "table"]
            await cache.invalidate(tags=["products"])       # the next call asks top_products again

    anyio.run(main)

A purge reaches every worker of the host that shares ``runtime_dir`` before `OpenStore.invalidate` returns;
the purges of two hosts do not reach each other, so no host reads from the second tier what another stored
there.

==================  =====================================================
``config``          `Store`: what you may ask for, checked when you ask
``handle``          `OpenStore`: what you use
``values``          `get_or_set`: JSON-able values by hand
``memory``          the in-process tier: a byte bound, SIEVE
``tags``            what a stored thing depends on
``stamps``          how a purge reaches every worker at once
``flight``          one makes it, the others wait
``second``          the second tier, its outages and its breaker
``backend``         Redis and Valkey; the only module that knows aiocache
``envelope``        how a value looks there
``codec``           how a value becomes bytes
``report``          what the store tells health and metrics
==================  =====================================================
"""

from sipup_middleware.store.codec import Codec
from sipup_middleware.store.config import Store
from sipup_middleware.store.handle import OpenStore
from sipup_middleware.store.tags import TagSet, url_tags

__all__ = ("Codec", "OpenStore", "Store", "TagSet", "url_tags")
