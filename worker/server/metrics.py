"""What the server counts, in the text format of Prometheus."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from worker.server.exchange import Exchange

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts requests by the status of their answers, and tokens."""

    def __init__(self) -> None:
        self._statuses: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()

    def count(self, exchange: Exchange) -> None:
        """Count a request that has ended. One whose client left before the answer began has no status."""
        self._statuses[str(exchange.status or "none")] += 1
        for kind in ("prompt", "completion"):
            self._tokens[kind] += exchange.facts.get(f"{kind}_tokens", 0)

    def text(self, requests: int, adapters: int, cache_share: float) -> str:
        """Return all metrics. The arguments are what is true now."""
        return "".join(f"{line}\n" for line in self._lines(requests, adapters, cache_share))

    def _lines(self, requests: int, adapters: int, cache_share: float) -> Iterator[str]:
        yield from _metric("requests", "gauge", "Requests that wait or run", {"": requests})
        yield from _metric("adapters", "gauge", "Adapters in memory", {"": adapters})
        yield from _metric(
            "cache_share", "gauge", "Share of the pool of keys and values in use", {"": cache_share}
        )
        statuses = {f'{{status="{status}"}}': count for status, count in sorted(self._statuses.items())}
        yield from _metric("requests_total", "counter", "Requests that have ended", statuses)
        tokens = {f'{{kind="{kind}"}}': count for kind, count in sorted(self._tokens.items())}
        yield from _metric("tokens_total", "counter", "Tokens of prompts and answers", tokens)


def _metric(name: str, kind: str, meaning: str, values: dict[str, Any]) -> Iterator[str]:
    yield f"# HELP tunery_serve_{name} {meaning}"
    yield f"# TYPE tunery_serve_{name} {kind}"
    for labels, value in values.items():
        yield f"tunery_serve_{name}{labels} {value}"
