"""The marketplace as an ASGI app, and the stack around it."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route

from demo_app.catalogue import categories, product, products
from demo_app.home import home_page
from demo_app.keys import ApiKey
from demo_app.prices import set_price
from demo_app.problems import HANDLERS
from demo_app.reports import sales
from demo_app.suppliers import supplier
from sipup_middleware import (
    ConfigurationError,
    Database,
    Health,
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

__all__ = ("build_stack", "create_app")


def create_app(settings: Settings | None = None) -> Starlette:
    """Build the app as *settings*, by default the environment, has it; connects to nothing yet."""
    key = ApiKey.from_environ()
    app = Starlette(
        routes=[
            Route("/", home_page(key)),
            Route("/products", products),
            Route("/products/{id}", product),
            Route("/products/{id}/price", set_price, methods=["PUT"]),
            Route("/suppliers/{id}", supplier),
            Route("/categories", categories),
            Route("/reports/sales", sales),
        ],
        exception_handlers=HANDLERS,
    )
    app.state.api_key = key
    app.add_middleware(build_stack(settings or Settings.from_environ()))
    return app


def build_stack(settings: Settings) -> Stack:
    """Return the layers around the marketplace, the outermost first."""
    if not (settings.health and settings.rate_limit and settings.response_cache and settings.database):
        raise ConfigurationError("the demo shows the whole stack: none of its layers can be switched off")
    if not settings.database_url:
        raise ConfigurationError("set SIPUP_DATABASE_URL, or start it by: python -m demo_app")
    redis_url = settings.redis_url or "memory://"
    return Stack(
        Health(path="/_health", token=settings.health_token),
        RateLimit(
            limits=(Limit("100/minute", key=by_ip), Limit("1000/hour", key=by_user)),
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
        Database(settings.database_url, pool=PoolConfig(budget=settings.budget)),
    )
