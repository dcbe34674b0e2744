"""Where cached things live: in this process first, then in a second tier, until a tag they carry is purged.

Open one, keep things, purge them by what they depend on::

    import anyio

    from sipup_middleware.store import Store

    store = Store()                                     # or Store("redis://cache:6379", max_bytes=64 << 20);
                                                        # also memcached://host, file:///var/cache/app

    async def top_products() -> list[str]:
        return ["chair", "table"]

    async def main() -> None:
        async with store.open() as cache:
            top = await cache.get_or_set("top", top_products, ttl=120, tags=["products"])
            assert top == ["chair", "table"]
            await cache.invalidate(tags=["products"])       # the next call asks top_products again

    anyio.run(main)

A purge reaches every worker of the host that shares ``runtime_dir`` before `OpenStore.invalidate` returns;
`OpenStore.purging` holds it from before a COMMIT to after it. Where the second tier is Redis or Valkey it
reaches every other host too, at once by message, after a second at the latest; hosts then share what they
store, and who cannot hear of purges serves and stores nothing that has tags. Else no host reads from the
second tier what another stored there.

=====================  =====================================================
``config``             `Store`: what you may ask for, checked when you ask
``handle``             `OpenStore`: what you use
``values``             `get_or_set`: JSON-able values by hand
``cached``             `Store.cached`: the same, as a decorator
``memory``             the in-process tier: a byte bound, SIEVE
``tags``               what a stored thing depends on
``purges``             a purge after a write, or around it
``stamps``             how a purge reaches every worker at once
``stampfile``          the file in which
``pending``            what a stamp says; a write that is announced
``over``               which announced writes are over
``link``               how a purge reaches the other hosts
``linking``            which URLs link hosts
``messages``           what they tell each other
``listener``           hears it, in order; whether it may be trusted
``debts``              what they could not be told yet
``shared``             their stamps on Redis or Valkey
``scripts``            what is done with these there, in one step each
``flight``             one makes it, the others wait
``crossing``           how a value crosses to the second tier and back
``second``             the second tier, its outages and its breaker
``backend``            what a second tier is, and which driver a URL names
``driver``             what all drivers do: a deadline, one error
``backend_redis``      Redis and Valkey
``backend_memcached``  Memcached
``backend_file``       a directory, warm over restarts
``directory``          what is in that directory, and for how long
``files``              how a file of it looks, is read and is written
``envelope``           how a value looks there
``codec``              how a value becomes bytes
``report``             what the store tells health and metrics
=====================  =====================================================
"""

from sipup_middleware.store.codec import Codec
from sipup_middleware.store.config import Store
from sipup_middleware.store.handle import OpenStore
from sipup_middleware.store.tags import TagSet, url_tags

__all__ = ("Codec", "OpenStore", "Store", "TagSet", "url_tags")
