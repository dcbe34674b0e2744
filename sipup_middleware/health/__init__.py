"""Say how the app is: to its supervisor, and to who may know more.

Wrap any app; the outermost layer, so that it answers when all else is saturated::

    from sipup_middleware.health import Check, Health, Reading

    async def disk() -> Reading:
        return Reading(42.0, "%", status="pass")

    healthy = Health("/_health", checks=(Check("disk:free", disk, critical=False),))(app)

Every other request is counted and timed, by route template. Under the path, for GET and HEAD:

====================  ======================================================================
``/live``             200 while the event loop runs; asks nothing
``/ready``, ``/``     503 while a critical check fails; ``?exclude=name`` leaves one out
``/ready/<check>``    one check alone
``/startup``          503 until the app's lifespan has started
``/metrics``          JSON: requests, limits, cache, database, process
====================  ======================================================================

Without access the first four say only ``{"status": ...}``, and the metrics and what plugins serve are
refused: 401 where a token would open them, else 403.

==================  =====================================================
``config``          `Health`: what you may ask for, checked when you ask
``middleware``      the ASGI shell: answer, or measure
``meter``           the shell's numbers, one series a route
``app``             the pages, a small Starlette app
``access``          who may see details
``readiness``       ask the checks: in parallel, once, not for ever
``metrics``         the JSON document
``system``          what the process takes of its machine
==================  =====================================================
"""

from sipup_middleware.health.config import Health
from sipup_middleware.telemetry import Check, Reading

__all__ = ("Check", "Health", "Reading")
