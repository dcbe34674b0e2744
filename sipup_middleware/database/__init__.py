"""PostgreSQL for every request: a pool that lends a connection a statement, and transactions.

Wrap any app::

    from sipup_middleware.database import Database, current

    async def product(request):
        db = current()  # or request.state.sipup.db; in FastAPI, Depends(current)
        row = await db.fetchrow("SELECT * FROM products WHERE id = $1", request.path_params["id"])
        async with db.transaction():
            await db.execute("UPDATE products SET views = views + 1 WHERE id = $1", row["id"])
        ...

    application = Database("postgresql://app@db/app")(app)

A request that never touches ``db`` borrows nothing; one that does holds a connection only while its statement
runs or its transaction is open. Scripts and workers: ``async with layer.open() as db``.

While PostgreSQL is away a statement raises `DatabaseUnavailable` at once. A handler may let it fly: the
client gets 503. No statement runs twice, except a plain read outside a transaction that met a dead
connection.

==================  ==========================================================
``config``          `Database`, `PoolConfig`: what you may ask for
``middleware``      the ASGI shell: a facade for each request, 503 for outages
``facade``          `Facade`: what a request sees
``hold``            a connection that one task keeps for more than a statement
``transaction``     ... from BEGIN to COMMIT
``pool``            who gets a connection
``dialling``        when one is opened, and what is done while the server is away
``lease``           one pooled connection, one statement that runs on it
``upkeep``          what is done to connections beside the requests
``dirt``            what a SQL text may leave in its session
``meters``          what is counted, and how readiness asks
``backend``         dialling and errors; the only module that knows asyncpg
==================  ==========================================================
"""

from sipup_middleware import context
from sipup_middleware.database.config import Database, PoolConfig
from sipup_middleware.database.facade import Facade
from sipup_middleware.errors import ConfigurationError

__all__ = ("Database", "Facade", "PoolConfig", "current")


def current() -> Facade:
    """Return the facade of the request being served; fits FastAPI's ``Depends``.

    Raises `ConfigurationError` outside a request, or where no `Database` wraps the app.
    """
    try:
        return context.current().db
    except AttributeError as error:
        raise ConfigurationError(str(error)) from None
