"""Sums up measured times."""

from __future__ import annotations

from collections.abc import Sequence

from bench.web.http_load import percentile


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Return how many there are, and their percentiles in milliseconds."""
    if not seconds:
        return {"count": 0}
    return {
        "count": len(seconds),
        "median_ms": 1e3 * percentile(seconds, 0.5),
        "p99_ms": 1e3 * percentile(seconds, 0.99),
        "most_ms": 1e3 * max(seconds),
    }
