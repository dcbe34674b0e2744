"""Answer again without asking the app: a shared HTTP cache inside it.

Wrap any app::

    from sipup_middleware.cache import ResponseCache, Rule

    cached = ResponseCache(
        rules=(
            Rule("/products/{id}", ttl=3600, tags=("product:{id}",)),
            Rule("/products", ttl=120, query=("page", "q")),
            Rule(content_type="text/html", ttl=300),
        ),
    )(app)

An answer is stored for as long as it declares itself (``Cache-Control``, ``Expires``), else by the first rule
that matches. What RFC 9111 forbids a shared cache is not stored, whatever a rule says; nor is ``Set-Cookie``,
and by a rule nothing that was asked for with a Cookie. Every answer passes on as it comes, chunk by chunk;
what is stored is a copy.

A handler has its say by ``request.state.sipup.response.tag("product:7").ttl(60)``, and purges by
``await request.state.sipup.store.invalidate(tags=["product:7"], url="/products/7", prefix="/products/")``.
A successful PUT, POST or DELETE purges its own URL. ``Cache-Status`` (RFC 9211) tells what happened.

=================  ==============================================================
``config``         what you may ask for, checked when you ask
``rules``          lifetimes for answers that declare none
``response``       what a handler may say about its response
``middleware``     the ASGI shell: answer, or forward
``request``        what the cache reads of a request; keys and hosts
``policy``         what may be stored, and for how long: pure
``directives``     lists and Cache-Control
``dates``          HTTP dates, strictly
``vary``           which request headers choose among answers
``validators``     whether the client has it already: 304
``invalidation``   what an unsafe request makes doubtful
``stored``         what lies in the store, and how it travels
``shelf``          where it lies
``replay``         sending it
``filling``        one asks the app, the others wait
``capture``        the copy aside
``landing``        letting the others go
``unstorable``     not waiting in vain
``status``         Cache-Status
=================  ==============================================================
"""

from sipup_middleware.cache.config import ResponseCache
from sipup_middleware.cache.rules import Rule

__all__ = ("ResponseCache", "Rule")
