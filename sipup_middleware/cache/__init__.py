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

An answer is fresh for as long as it declares itself (``Cache-Control``, ``Expires``), else by the first rule
that matches. What RFC 9111 forbids a shared cache is not stored, whatever a rule says; nor is ``Set-Cookie``,
and by a rule nothing that was asked for with a Cookie. Every answer passes on as it comes, chunk by chunk;
what is stored is a copy.

What an app reads of a request beside scheme, Host, path and query, such as ``X-Forwarded-Host``, it names in
``Vary``, or ``vary_key`` gives it: else whoever sends it decides what others get.

A stale answer is kept as long again: for the app to confirm (304), to be sent while it is made anew, or in
the place of an error; as the answer, a rule, the handler and ``stale_if_error`` say. ``must-revalidate``
forbids to send it.

A handler has its say by ``request.state.sipup.response.tag("product:7").ttl(60).stale(10)``, and purges by
``await request.state.sipup.store.invalidate(tags=["product:7"], url="/products/7", prefix="/products/")``.
A successful PUT, POST or DELETE purges its own URL, and the groups that its answer names (RFC 9875).
``Cache-Status`` (RFC 9211) tells what happened.

=================  ==============================================================
``config``         what you may ask for, checked when you ask
``rules``          lifetimes for answers that declare none
``response``       what a handler may say about its response
``middleware``     the ASGI shell: answer, or forward
``request``        what the cache reads of a request; keys and hosts
``client``         what a client asks of a cache
``answer``         what the cache reads of a response
``control``        Cache-Control, or a field in its place
``targeted``       that field: RFC 9213
``directives``     lists and directives
``dates``          HTTP dates, strictly
``policy``         what may be stored, for how long and for whom: pure
``freshness``      how long, and how old: pure
``reuse``          what a stored answer may still do: pure
``freshening``     what a 304 or a HEAD makes of it: pure
``vary``           which request headers choose among answers
``validators``     whether the client has it already: 304
``ranges``         which part of it the client asks for: 206
``invalidation``   what an unsafe request makes doubtful
``groups``         what is purged together: RFC 9875
``stored``         what lies in the store, and how it travels
``shelf``          where it lies
``replay``         sending it
``asking``         a request that goes to the app
``filling``        one asks, the others wait
``fetching``       calling the app
``capture``        its answer on the way, and the copy aside
``validation``     asking whether the stored one still holds
``heads``          what a HEAD tells of it
``refresh``        making it anew behind the response
``recent``         not waiting in vain
``passing``        storing nothing
``verifying``      the shadow mode, and samples of hits
``shadow``         comparing two answers
``status``         Cache-Status
=================  ==============================================================
"""

from sipup_middleware.cache.config import ResponseCache
from sipup_middleware.cache.rules import Rule

__all__ = ("ResponseCache", "Rule")
