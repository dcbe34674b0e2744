"""The marketplace as an ASGI app, and the stack around it."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from demo_app.accounts import login
from demo_app.bare import Bare
from demo_app.catalogue import categories, product, products
from demo_app.home import home_page
from demo_app.inquiries import ask
from demo_app.keys import ApiKey
from demo_app.letters import TASKS
from demo_app.live import live
from demo_app.orders import my_orders, place_order
from demo_app.prices import set_price
from demo_app.problems import HANDLERS
from demo_app.reports import sales
from demo_app.streaming import stream
from demo_app.suppliers import supplier
from sipup_middleware import (
    ConfigurationError,
    Database,
    Health,
    Jobs,
    Limit,
    PoolConfig,
    RateLimit,
    ResponseCache,
    Rule,
    Settings,
    Stack,
    Store,
    by_ip,
    by_user,
)

__all__ = ("build_jobs", "build_stack", "create_app")

_LAYERS = ("health", "rate_limit", "response_cache", "database", "jobs")


def create_app(settings: Settings | None = None, *, bare: bool = False) -> Starlette:
    """Build the app as *settings*, by default the environment, has it; connects to nothing yet.

    *bare*: without the stack, to see what it is good for.
    """
    settings = settings or Settings.from_environ()
    key = ApiKey.from_environ()
    app = Starlette(
        routes=[
            Route("/", home_page(key, bare=bare)),
            Route("/products", products),
            Route("/products/{id}", product),
            Route("/products/{id}/price", set_price, methods=["PUT"]),
            Route("/suppliers/{id}", supplier),
            Route("/categories", categories),
            Route("/reports/sales", sales),
            Route("/stream", stream),
            Route("/login", login, methods=["POST"]),
            Route("/orders", place_order, methods=["POST"]),
            Route("/me/orders", my_orders),
            Route("/inquiries", ask, methods=["POST"]),
            WebSocketRoute("/ws", live),
        ],
        exception_handlers=HANDLERS,
    )
    app.state.api_key = key
    app.state.webhook_url = os.environ.get("DEMO_WEBHOOK_URL", "").rstrip("/")
    if bare:
        app.add_middleware(Bare, url=_database_url(settings), tasks=TASKS)
    else:
        app.add_middleware(build_stack(settings))
    return app


def _database_url(settings: Settings) -> str:
    if not settings.database_url:
        raise ConfigurationError("set SIPUP_DATABASE_URL, or start it by: python -m demo_app")
    return settings.database_url


def build_jobs(settings: Settings) -> Jobs:
    """Return the layer of background jobs, whose queue is in the database unless it is told otherwise."""
    return Jobs(settings.jobs_url or _database_url(settings), tasks=TASKS)


def build_stack(settings: Settings, jobs: Jobs | None = None) -> Stack:
    """Return the layers around the marketplace, the outermost first."""
    if not all(getattr(settings, layer) for layer in _LAYERS):
        raise ConfigurationError("the demo shows the whole stack: none of its layers can be switched off")
    database_url = _database_url(settings)
    redis_url = settings.redis_url or "memory://"
    return Stack(
        Health(path="/_health", token=settings.health_token),
        RateLimit(
            limits=(
                Limit("100/minute", key=by_ip),
                Limit("1000/hour", key=by_user),
                Limit("10/minute", key=by_ip, name="login", paths=["/login"], methods=["POST"]),
            ),
            storage=redis_url,
        ),
        ResponseCache(
            store=Store(settings.store_url or redis_url),
            rules=(
                Rule("/products", ttl=120, query=("category", "q", "sort", "page")),
                Rule("/products/{id}", ttl=3600, tags=("product:{id}",)),
                Rule("/suppliers/{id}", ttl=3600, tags=("supplier:{id}",)),
                Rule("/categories", ttl=3600),
                Rule("/reports/sales", ttl=300, query=("month",)),
            ),
        ),
        Database(database_url, pool=PoolConfig(budget=settings.budget)),
        jobs or build_jobs(settings),
    )
