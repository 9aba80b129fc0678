"""What the server counts, in the text format of Prometheus."""

from collections.abc import Callable, Iterator

from prometheus_client import Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from core.monitoring import declared
from core.monitoring.page import gauge
from core.monitoring.recorder import Recorder
from worker.server.exchange import Exchange


class Metrics(Collector):
    """Counts requests by the status of their answers and by the codes of their errors, and tokens."""

    def __init__(self, now: Callable[[], tuple[int, int, float]]) -> None:
        """`now` returns the requests that wait or run, the adapters in memory, and the share of the pool."""
        self._now = now
        self._recorder = Recorder()

    def count(self, exchange: Exchange) -> None:
        """Count a POST that has ended. One whose client left before the answer began has no status."""
        if exchange.request.method != "POST":
            return
        count, facts = self._recorder.count, exchange.facts
        count(declared.SERVE_REQUESTS, status=exchange.status or "none")
        if error := facts.get("error"):
            count(declared.SERVE_ERRORS, code=error)
        for kind in ("prompt", "completion"):
            count(declared.SERVE_TOKENS, facts.get(f"{kind}_tokens", 0), kind=kind)
        for outcome in ("accepted", "rejected"):
            count(declared.SERVE_DRAFTS, facts.get(f"{outcome}_draft_tokens", 0), outcome=outcome)
        count(declared.SERVE_CACHED, facts.get("cached_tokens", 0))
        if facts.get("completion_tokens"):
            self._recorder.observe(declared.SERVE_SECONDS, exchange.seconds)

    async def page(self, _request: Request) -> Response:
        return Response(generate_latest(self), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    def collect(self) -> Iterator[Metric]:
        now = (declared.SERVE_OPEN, declared.SERVE_ADAPTERS, declared.SERVE_CACHE)
        for metric, value in zip(now, self._now(), strict=True):
            family = gauge(metric)
            family.add_metric([], value)
            yield family
        yield from self._recorder.registry.collect()
