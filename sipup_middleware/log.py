"""The default observer: what an operator should read, on the logger ``sipup_middleware``.

Transitions at WARNING, once each; unhandled errors at ERROR. No bodies, no parameters, no addresses.
"""

from __future__ import annotations

import logging

from sipup_middleware.telemetry import (
    BackendLost,
    BackendRestored,
    ErrorUnhandled,
    Fact,
    WarningRaised,
)

__all__ = ("log",)

_LOGGER = logging.getLogger("sipup_middleware")


def log(fact: Fact, /) -> None:
    """Write *fact* down if it is one that an operator acts on."""
    match fact:
        case ErrorUnhandled(error=error, route=route, request_id=request_id):
            _LOGGER.error("unhandled %s in %s (request %s)", error, route, request_id)
        case BackendLost(layer=layer, reason=reason):
            _LOGGER.warning("%s: its server does not answer (%s)", layer, reason)
        case BackendRestored(layer=layer):
            _LOGGER.warning("%s: its server answers again", layer)
        case WarningRaised(layer=layer, message=message):
            _LOGGER.warning("%s: %s", layer, message)
