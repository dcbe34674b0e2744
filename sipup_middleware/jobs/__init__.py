"""Hand work over to a worker, in the transaction of the data that it belongs to.

Wrap any app::

    from sipup_middleware.jobs import Jobs, catalog, job

    @job("invoice.sync", retries=5)
    async def sync_invoice(ctx, invoice_id: int):
        await ctx.db.execute("UPDATE invoices SET synced = now() WHERE id = $1", invoice_id)

    async def pay(request):
        sipup = request.state.sipup
        async with sipup.db.transaction():
            await sipup.db.execute("UPDATE invoices SET paid = now() WHERE id = $1", 7)
            await sipup.jobs.enqueue("invoice.sync", {"invoice_id": 7})  # committed, or never sent
        ...

    jobs = Jobs("postgresql://app@db/app", tasks=(sync_invoice, *catalog.STANDARD))
    application = jobs(app)
    worker = jobs.worker(resources=stack)  # in a module: saq shop.worker

A job runs at least once: after a crash of its worker it runs again, so what it does must bear repetition;
``ctx.id`` is the same in each attempt. Attempts that raise are repeated after 2, 8 and 32 seconds; `Retry`
says when instead, `Discard` says never.

==================  ==========================================================
``config``          `Jobs`: what you may ask for
``task``            `Task`, and ``@job``, which makes one of a function
``running``         `JobContext`: what a job sees; `Retry`, `Discard`
``catalog``         kinds of work that every platform needs
``middleware``      the ASGI shell: a handle for each request, 503 for outages
``handle``          `OpenJobs`: enqueueing; `JobHandle`: how a job went
``policy``          what a job looks like, and when it runs again
``broker``          what the brokers have in common
``postgres``        ... SAQ's tables, in the schema ``sipup`` of ``schema``
``redis``           ... SAQ's keys, and ``scripts`` that run inside
``inline``          ... no server, for tests
``meters``          what is counted, and how health asks
``durations``       how long attempts take, told by several workers
``worker``          the settings of SAQ's worker, and its start and end
``attempt``         one attempt at one job, and what follows from its end
``backend``         SAQ's queues as our worker needs them
==================  ==========================================================
"""

from sipup_middleware import context
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.jobs.config import Jobs
from sipup_middleware.jobs.handle import Job, JobHandle, OpenJobs
from sipup_middleware.jobs.running import Discard, JobContext, Retry
from sipup_middleware.jobs.task import Task, job

__all__ = (
    "Discard",
    "Job",
    "JobContext",
    "JobHandle",
    "Jobs",
    "OpenJobs",
    "Retry",
    "Task",
    "current",
    "job",
)


def current() -> OpenJobs:
    """Return the handle of the request being served; fits FastAPI's ``Depends``.

    Raises `ConfigurationError` outside a request, or where no `Jobs` wraps the app.
    """
    try:
        return context.current().jobs
    except AttributeError as error:
        raise ConfigurationError(str(error)) from None
