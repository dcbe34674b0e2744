"""A B2B marketplace on the whole stack: 20,000 products, 60,000 orders, a real PostgreSQL and Valkey.

From the root of the checkout::

    python -m demo_app                      # or: make demo
    curl -i http://127.0.0.1:8000/products/1

``http://127.0.0.1:8000/`` lists what there is to try. Under another server the factory is `create_app`::

    sipup services run -- uvicorn --factory demo_app:create_app     # with data only if it is there already
    sipup services run -- saq demo_app.worker                       # and what runs its jobs

==================  =====================================================
``app``             `create_app`, and `build_stack`: the layers around it
``catalogue``       products, lists of them, categories
``suppliers``       who sells
``reports``         a month's sales, added up
``prices``          the write that purges what it made stale
``orders``          the write that also tells the buyer and the supplier
``inquiries``       a question to a supplier
``letters``         what buyers and suppliers are told, and the tasks that tell them
``accounts``        who buys, and how one logs in
``streaming``       the whole price list, a chunk at a time
``live``            the websocket
``home``            ``GET /``: what there is to try, and live numbers
``problems``        errors that name the field
``reading``         parameters, read strictly
``replies``         JSON
``keys``            who may write, and who buys
``bare``            the same app without the stack: the "before"
``data``            the tables, ``schema.sql``, and their rows, ``data.sql``
``serve``           uvicorn, in this process or in workers
``processes``       what runs beside it: the mailbox, the jobs' worker
``following``       ... each ends with the process that started it
``mailbox``         where e-mails and webhooks arrive, to be looked at
``__main__``        the command line
==================  =====================================================
"""

import os
from typing import Any

from demo_app.app import build_jobs, build_stack, create_app
from demo_app.following import follow
from demo_app.processes import OWNER
from sipup_middleware import Settings

__all__ = ("build_jobs", "build_stack", "create_app", "worker")

_GRACE = 5
"""Seconds that jobs in flight get when the worker is told to stop."""


def worker() -> dict[str, Any]:
    """Return the settings of ``saq demo_app.worker``."""
    if owner := os.environ.get(OWNER):
        follow(int(owner))
    settings = Settings.from_environ()
    jobs = build_jobs(settings)
    return jobs.worker(resources=build_stack(settings, jobs), grace=_GRACE)()
