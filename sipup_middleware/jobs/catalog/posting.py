"""How a webhook is posted to an address that the guard admitted: the only module that knows httpx.

The transport is used, not the client: it follows no redirect, heeds no proxy of the environment, keeps no
cookie, and does not write the URL, which may be a secret, into the log.
"""

# ruff: noqa: ASYNC109 (httpx takes the timeout of each step)

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sipup_middleware.errors import MissingExtra
from sipup_middleware.jobs.catalog.guard import Target
from sipup_middleware.jobs.running import Retry

try:
    import httpx
except ImportError as missing:
    raise MissingExtra("jobs") from missing

__all__ = ("Poster",)

_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


class Poster:
    """Reads the certificates that it trusts as it is made: not on a loop."""

    def __init__(self) -> None:
        self._tls = httpx.create_ssl_context()

    async def post(
        self,
        target: Target,
        addresses: Sequence[str],
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout: float,
    ) -> tuple[int, str | None]:
        """Return the status and Retry-After of the first of *addresses* that takes a connection.

        Raises `Retry` that does not show where it went.
        """
        failure = "no address"
        for address in addresses:
            try:
                return await self._exchange(_request(target, address, headers, body, timeout))
            except httpx.ConnectError as error:
                failure = "its certificate" if _UNTRUSTED in str(error) else type(error).__name__
            except httpx.TransportError as error:
                raise Retry(f"the endpoint did not answer ({type(error).__name__})") from None
        raise Retry(f"the endpoint took no connection ({failure})")

    async def _exchange(self, request: httpx.Request) -> tuple[int, str | None]:
        async with httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            await response.aclose()  # whatever its body may be, and however long
            return response.status_code, response.headers.get("retry-after")


def _request(
    target: Target, address: str, headers: Mapping[str, str], body: bytes, timeout: float
) -> httpx.Request:
    return httpx.Request(
        "POST",
        httpx.URL(scheme=target.scheme, host=address, port=target.port, raw_path=target.path.encode()),
        headers={"host": target.authority, **headers},
        content=body,
        extensions={
            "sni_hostname": target.host.rstrip("."),
            "timeout": httpx.Timeout(timeout).as_dict(),
        },
    )
