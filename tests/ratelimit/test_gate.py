"""Networks that are let in or kept out, also where a proxy stands between."""

from __future__ import annotations

from typing import Any

import pytest

from sipup_middleware import ClientIP, ConfigurationError, RateLimit
from tests.asgi import get, hello
from tests.ratelimit.doubles import Wrapped, five_a_minute, wrap

BEHIND = ClientIP(trusted=["10.0.0.0/8"])
FRIENDS = ["192.0.2.0/24", "2001:db8:1::/48"]
FOES = ["203.0.113.0/24", "2001:db8:bad::/48"]


def gated(**options: Any) -> Wrapped:
    return wrap(hello, five_a_minute(), **{"allow": FRIENDS, "deny": FOES, **options})


def told(*pairs: tuple[str, str]) -> dict[str, Any]:
    """A request through the proxy, which says so in *pairs*."""
    return {"client": "10.0.0.1", "headers": pairs}


@pytest.mark.parametrize("client", ["192.0.2.9", "::ffff:192.0.2.9", "2001:db8:1::9"])
async def test_an_allowed_network_meets_no_limit_and_hears_of_none(client: str) -> None:
    wrapped = gated()

    replies = [await get(wrapped.app, client=client) for _ in range(20)]

    assert {reply.status for reply in replies} == {200}
    assert not [name for name in replies[0].headers if "ratelimit" in name]
    assert wrapped.gauge("ratelimit.keys") == 0


@pytest.mark.parametrize("client", ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8:bad::9"])
async def test_a_denied_network_is_told_so_and_never_reaches_the_app(client: str) -> None:
    reached: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    wrapped = wrap(app, five_a_minute(), deny=FOES)

    refused = await get(wrapped.app, client=client)

    assert refused.status == 403
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["title"] == "Forbidden"
    assert "retry-after" not in refused.headers
    assert reached == []
    assert wrapped.count("ratelimit.decisions", decision="denied") == 1
    assert wrapped.gauge("ratelimit.keys") == 0


async def test_everybody_else_meets_the_limits() -> None:
    wrapped = gated()

    seen = [(await get(wrapped.app, client="198.51.100.7")).status for _ in range(6)]
    nameless = [(await get(wrapped.app, client=None)).status for _ in range(6)]

    assert seen == nameless == [200] * 5 + [429]


async def test_who_is_on_both_lists_is_kept_out() -> None:
    wrapped = gated(deny=["192.0.2.7/32"])

    assert (await get(wrapped.app, client="192.0.2.7")).status == 403
    assert (await get(wrapped.app, client="192.0.2.8")).status == 200


async def test_behind_a_trusted_proxy_the_lists_are_for_its_clients() -> None:
    wrapped = gated(client_ip=BEHIND)

    allowed = [(await get(wrapped.app, **told(("X-Forwarded-For", "192.0.2.9")))).status for _ in range(9)]
    denied = await get(wrapped.app, **told(("X-Forwarded-For", "192.0.2.9, 203.0.113.9")))

    assert allowed == [200] * 9
    assert denied.status == 403


async def test_the_proxys_own_network_may_be_denied_without_its_clients() -> None:
    wrapped = gated(client_ip=BEHIND, deny=["10.0.0.0/8"])

    assert (await get(wrapped.app, **told(("X-Forwarded-For", "198.51.100.7")))).status == 200
    assert (await get(wrapped.app, client="10.0.0.1")).status == 403


async def test_nobody_gets_in_by_a_header_that_no_proxy_of_ours_has_written() -> None:
    wrapped = gated(client_ip=BEHIND)

    seen = [
        (await get(wrapped.app, client="198.51.100.7", headers=[("X-Forwarded-For", "192.0.2.9")])).status
        for _ in range(6)
    ]

    assert seen == [200] * 5 + [429]


async def test_a_second_header_leads_past_neither_list() -> None:
    wrapped = gated(client_ip=BEHIND)
    foe = told(("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=198.51.100.7"))
    impostor = told(("X-Forwarded-For", "198.51.100.7"), ("Forwarded", "for=192.0.2.9"))

    denied = await get(wrapped.app, **foe)
    limited = [(await get(wrapped.app, **impostor)).status for _ in range(6)]

    assert denied.status == 403
    assert limited == [200] * 5 + [429]


async def test_exempt_paths_are_for_everyone() -> None:
    assert (await get(gated().app, "/_health", client="203.0.113.9")).status == 200


async def test_in_shadow_nobody_is_kept_out_and_it_is_counted() -> None:
    wrapped = gated(mode="shadow")

    assert (await get(wrapped.app, client="203.0.113.9")).status == 200
    assert wrapped.count("ratelimit.decisions", decision="shadowed") == 1
    assert wrapped.count("ratelimit.decisions", decision="denied") == 0


@pytest.mark.parametrize("option", ["allow", "deny"])
@pytest.mark.parametrize("networks", ["192.0.2.0/24", ["somewhere"], ["192.0.2.1/24"], [7]])
def test_a_list_that_is_none_is_refused_by_its_name(option: str, networks: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"RateLimit\.{option}\b"):
        RateLimit(**{option: networks})
