"""What the servers of these tests are given, ``tests.hosts.served:app``: told by the environment."""

from __future__ import annotations

import os

from tests.hosts.apps import HOSTS
from tests.hosts.shop import Place, new_stack

__all__ = ("app",)

_host = next(each for each in HOSTS if each.name == os.environ["SHOP_HOST"])
app = _host.wrapped(
    new_stack(Place(os.environ["SHOP_DATABASE_URL"], os.environ["SHOP_REDIS_URL"], os.environ["SHOP_NAME"]))
)
