"""Refuse the requests of clients that ask too often.

Wrap any app; a client within its quotas is served and told what is left of the tightest, any other gets
``429 Too Many Requests`` with ``Retry-After``, and the app is not called::

    from sipup_middleware.ratelimit import Limit, RateLimit, by_ip, by_user

    layer = RateLimit(
        limits=(
            Limit("100/minute", key=by_ip),
            Limit("1000/hour", key=by_user),
            Limit("10/minute", key=by_ip, name="login", paths=("/login",), methods=("POST",)),
        ),
    )
    application = layer(app)

Every limit of a request is checked before any is counted: what one refuses costs the others nothing. Limits
are sliding windows, so that no client gets twice its quota around the turn of a minute. If the server behind
``storage="redis://..."`` does not answer, see ``on_outage``. What was decided stands in
``request.state.sipup.limits.decision``. Websockets pass.

==================  =====================================================
``config``          what you may ask for, checked when you ask
``middleware``      the ASGI shell
``limits``          the open limiter; what a request can ask of it
``backend``         the language of rates, and which limiter counts
``policy``          what follows from a count: pure, no clock, no I/O
``memory``          counting in this process
``redis``           counting on Redis or Valkey, one script a request
``rules``           which limits a request has to meet
``paths``           patterns such as ``/items/{id}``
``keys``            who is asking
``headers``         what the client is told
==================  =====================================================
"""

from sipup_middleware.client_ip import ClientIP
from sipup_middleware.ratelimit.config import Limit, RateLimit
from sipup_middleware.ratelimit.keys import by_header, by_ip, by_user
from sipup_middleware.ratelimit.limits import Limits, RequestLimits
from sipup_middleware.ratelimit.policy import Decision

__all__ = (
    "ClientIP",
    "Decision",
    "Limit",
    "Limits",
    "RateLimit",
    "RequestLimits",
    "by_header",
    "by_ip",
    "by_user",
)
