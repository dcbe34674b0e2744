"""Measurements: one module a question, each runnable as ``python -m bench.NAME [--quick] [--json]``.

``make bench`` runs them all into ``bench/results/`` and ``bench/RESULTS.md``.

=============  =====================================================
``overhead``   what each layer and the whole stack add to a request
``ratelimit``  what rate limiting adds, and how that grows with the clients
``cache``      what the response cache adds to a request, and what it spares the app
``server``     what a real server answers from it, beside nginx and Varnish
``pool``       what a borrowed connection costs, and how many requests a pool of few serves
``bulk``       what it takes to write many rows, beside the usual ways
``frame``      what every bench is: a question, cases, figures with aims
``timing``     how we time
``requests``   one ASGI request after the other, with no server
``glue``       the peers that our users glue together today
``report``     all benches, their records and the page
=============  =====================================================
"""

__all__ = ()
