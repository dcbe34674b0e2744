"""The JSON document: what the layers counted, a section for each that is there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sipup_middleware.telemetry import Histogram, Telemetry

__all__ = ("document",)

_SCHEMA = 1
Section = dict[str, Any]


def document(
    telemetry: Telemetry, *, system: Section, reports: Mapping[str, Section | None] = MappingProxyType({})
) -> Section:
    """Return every section: rates and percentiles of the last ``window_s`` seconds, totals of all time.

    *reports* are the sections that only a server knows; None = it did not say.
    """
    window = telemetry.tick()
    sections = {
        "ratelimit": _ratelimit(telemetry),
        "cache": _cache(telemetry),
        "db": _database(telemetry),
    }
    return {
        "schema": _SCHEMA,
        "window_s": round(window, 1),
        "workers": {"seen": 1},
        "http": _http(telemetry, window),
        **{name: section for name, section in sections.items() if section},
        **reports,
        "system": system,
    }


def _http(telemetry: Telemetry, window: float) -> Section:
    by_route: dict[tuple[str, str], dict[str, Histogram]] = defaultdict(dict)
    for labels, histogram in telemetry.histograms("http.duration"):
        by_route[labels["route"], labels["method"]][labels["status"]] = histogram
    routes = {key: (statuses, Histogram.merged(statuses.values())) for key, statuses in by_route.items()}
    whole = Histogram.merged(merged for _, merged in routes.values())
    return {
        "requests_total": whole.count,
        "in_flight": _gauge(telemetry, "http.in_flight"),
        "rps": round(whole.recent / max(window, 1.0), 1),
        "latency_ms": {
            **_milliseconds(whole, p50=0.5, p95=0.95, p99=0.99),
            "max": _ms(whole.maximum) if whole.recent else None,
        },
        "routes": [
            _route(route, method, statuses, merged)
            for (route, method), (statuses, merged) in sorted(
                routes.items(), key=lambda item: (-item[1][1].count, item[0])
            )
        ],
    }


def _route(route: str, method: str, statuses: dict[str, Histogram], merged: Histogram) -> Section:
    return {
        "route": route,
        "method": method,
        "count": merged.count,
        "status": {status: statuses[status].count for status in sorted(statuses)},
        **_milliseconds(merged, p50=0.5, p95=0.95, p99=0.99),
    }


def _ratelimit(telemetry: Telemetry) -> Section | None:
    decisions = _totals(telemetry, "ratelimit.decisions", "decision")
    if decisions is None:
        return None
    return {
        "allowed_total": decisions["allowed"],
        "limited_total": decisions["limited"],
        "banned_total": decisions["banned"],
        "denied_total": decisions["denied"],
        "shadowed_total": decisions["shadowed"],
        "shed_total": sum((_totals(telemetry, "ratelimit.shed", "reason") or {}).values()),
        "degraded": bool(_gauge(telemetry, "ratelimit.degraded")),
    }


def _cache(telemetry: Telemetry) -> Section | None:
    outcomes = _totals(telemetry, "cache.requests", "outcome")
    if outcomes is None:
        return None
    hits, stale = outcomes["hit"], outcomes["stale"]
    misses = outcomes["miss"] + outcomes["revalidated"]  # the app was asked for both
    answered = hits + stale + misses
    return {
        "hits": hits,
        "misses": misses,
        "stale": stale,
        "bypass": outcomes["bypass"],
        "hit_rate": round((hits + stale) / answered, 4) if answered else None,
        "entries": _gauge(telemetry, "cache.entries"),
        "bytes": _gauge(telemetry, "cache.bytes"),
    }


def _database(telemetry: Telemetry) -> Section | None:
    pool = {labels["state"]: value for labels, value in telemetry.gauges("db.pool")}
    queries = _totals(telemetry, "db.queries", "outcome")
    if queries is None and not pool:
        return None
    acquired = Histogram.merged(histogram for _, histogram in telemetry.histograms("db.acquire"))
    return {
        "pool": {state: pool.get(state) for state in ("max", "in_use", "idle", "waiting")},
        "queries_total": sum((queries or {}).values()),
        "slow_total": _total(telemetry, "database.slow"),
        "inlined_total": _total(telemetry, "database.inlined"),
        "acquire_ms": _milliseconds(acquired, p50=0.5, p95=0.95),
    }


def _totals(telemetry: Telemetry, name: str, label: str) -> dict[str, int] | None:
    """Return a counter's totals by *label*, 0 for what was never counted; None if nobody registered it."""
    totals: dict[str, int] = defaultdict(int)
    for labels, counter in telemetry.counters(name):
        totals[labels[label]] += counter.value
    return totals or None


def _total(telemetry: Telemetry, name: str) -> int:
    return sum(counter.value for _, counter in telemetry.counters(name))


def _gauge(telemetry: Telemetry, name: str) -> float:
    return sum(value for _, value in telemetry.gauges(name))


def _milliseconds(histogram: Histogram, **fractions: float) -> dict[str, float | None]:
    """Return the named quantiles; None where nothing was recorded lately."""
    quantiles: Iterable[float | None] = [None] * len(fractions)
    if histogram.recent:
        quantiles = map(_ms, histogram.quantiles(*fractions.values()))
    return dict(zip(fractions, quantiles, strict=True))


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
