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
``sync``            ... from a thread: the same for ``def`` handlers
``runner``          how a statement gets to its connection, and who is told of it
``hold``            a connection that one task keeps for more than a statement
``owner``           which task, or thread, that is
``transaction``     ... from BEGIN to COMMIT
``attempts``        ... run again where others were in its way
``lone``            ... that no block ends
``transactional``   ... of a whole request, committed before its answer is sent
``replay``          ... whose handler finds the request again when it runs again
``pinned``          the driver's own connection
``far``             ... from another loop than its own
``stream``          rows that need not fit into memory
``bulk``            many rows at once: COPY, upserts, files
``identifiers``     names of tables and columns, quoted
``disconnect``      whether the client is still there
``pool``            who gets a connection
``line``            ... who waits for one, and who is told that it would be in vain
``dialling``        when one is opened, and what is done while the server is away
``budget``          how many there may be
``lease``           one pooled connection, one statement that runs on it
``upkeep``          what is done to connections beside the requests
``leaks``           ... and those that do not come back
``replicas``        which reads go to a hot standby
``standby``         ... how far that one is
``pooler``          what cannot be had behind PgBouncer
``tally``           what happened to the connections, told later
``dirt``            what a SQL text may leave in its session
``meters``          what is counted, and how readiness asks
``watching``        what is looked at when a statement has ended
``slow``            ... whether it was slow
``inlined``         ... whether values are written into its text
``normal``          ... by its text without them
``backend``         dialling and errors; the only module that knows asyncpg
==================  ==========================================================
"""

from sipup_middleware.database.bulk import BulkResult, FailedRow
from sipup_middleware.database.config import Database, PoolConfig
from sipup_middleware.database.facade import Facade, current
from sipup_middleware.database.identifiers import Identifier, quote_identifier
from sipup_middleware.database.transactional import transactional

__all__ = (
    "BulkResult",
    "Database",
    "Facade",
    "FailedRow",
    "Identifier",
    "PoolConfig",
    "current",
    "quote_identifier",
    "transactional",
)
