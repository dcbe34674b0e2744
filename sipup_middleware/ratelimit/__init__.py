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
``request.state.sipup.limits.decision``. A websocket's handshake is a request like others.

==================  ==========================================================
``config``          `RateLimit`: what you may ask for, checked when you ask
``limit``           `Limit`: how much, of whom, on what
``middleware``      the ASGI shell
``limits``          the open limiter; what a request can ask of it
``rules``           which limits a request has to meet; ``paths`` such as ``/items/{id}``
``rates``           rates that a function gives
``keys``            who is asking
``gate``            networks that are let in or kept out
``balancer``        is there one that nobody named? ``detour``: what then holds
``policy``          what follows from what was counted: pure, no clock, no I/O
``memory``          counting in this process: ``counters``, ``bans``; ``plain``: in one pass
``redis``           counting on Redis or Valkey, one of the ``scripts`` a request: ``questions``
``line``            the connection to it, that all requests share; ``wire``: what crosses it
``foreign``         counting on a storage of `limits`: ``foreign_windows``
``registered``      our memory as a storage of `limits`
``backend``         the language of rates, and which limiter counts
``denied``          who was refused a moment ago need not be asked about
``backoff``         `Backoff`: when refusals become a ban
``watch``           what a response says of its client
``shed``            `LoadShed`; ``shedder``: who comes in, ``adaptive``: how many, ``slots``
``unread``          a refused request's body, for servers that need it read
``told``            what was told of whom; ``trial``: limits that count nobody
``sockets``         what a client's websockets may send, and what a handshake is answered
``headers``         what the client is told; ``refusals``: how it is refused
==================  ==========================================================
"""

from sipup_middleware.client_ip import ClientIP
from sipup_middleware.ratelimit.backoff import Backoff
from sipup_middleware.ratelimit.config import RateLimit
from sipup_middleware.ratelimit.keys import by_header, by_ip, by_user
from sipup_middleware.ratelimit.limit import Limit
from sipup_middleware.ratelimit.limits import Limits, RequestLimits
from sipup_middleware.ratelimit.policy import Decision
from sipup_middleware.ratelimit.shed import LoadShed

__all__ = (
    "Backoff",
    "ClientIP",
    "Decision",
    "Limit",
    "Limits",
    "LoadShed",
    "RateLimit",
    "RequestLimits",
    "by_header",
    "by_ip",
    "by_user",
)
