"""What the server counts, in the text format of Prometheus."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from worker.server.exchange import Exchange


class Metrics(Collector):
    """Counts requests by the status of their answers and by the codes of their errors, and tokens.

    The library's own counters would add the time at which each one was made.
    """

    def __init__(self, now: Callable[[], tuple[int, int, float]]) -> None:
        """`now` returns the requests that wait or run, the adapters in memory, and the share of the pool."""
        self._now = now
        self._statuses: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._drafted: Counter[str] = Counter()

    def count(self, exchange: Exchange) -> None:
        """Count a POST that has ended. One whose client left before the answer began has no status."""
        if exchange.request.method != "POST":
            return
        self._statuses[str(exchange.status or "none")] += 1
        if error := exchange.facts.get("error"):
            self._errors[error] += 1
        for kind in ("prompt", "completion"):
            self._tokens[kind] += exchange.facts.get(f"{kind}_tokens", 0)
        for outcome in ("accepted", "rejected"):
            self._drafted[outcome] += exchange.facts.get(f"{outcome}_draft_tokens", 0)

    async def page(self, _request: Request) -> Response:
        return Response(generate_latest(self), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    def collect(self) -> Iterator[Metric]:
        requests, adapters, share = self._now()
        yield GaugeMetricFamily("tunery_serve_requests", "Requests that wait or run", requests)
        yield GaugeMetricFamily("tunery_serve_adapters", "Adapters in memory", adapters)
        yield GaugeMetricFamily(
            "tunery_serve_cache_share", "Share of the pool of keys and values in use", share
        )
        yield _counter("requests", "Requests that have ended", "status", self._statuses)
        yield _counter("errors", "Requests that were refused or have failed", "code", self._errors)
        yield _counter("tokens", "Tokens of prompts and answers", "kind", self._tokens)
        yield _counter("draft_tokens", "Tokens that were guessed and computed", "outcome", self._drafted)


def _counter(name: str, meaning: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"tunery_serve_{name}", meaning, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
