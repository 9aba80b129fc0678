"""The page that Prometheus reads, on a port of its own: it needs no key, so nobody else shall reach it."""

from collections.abc import Iterable
from threading import Thread
from typing import Any, Self

import structlog
from prometheus_client import CollectorRegistry, Metric, ProcessCollector, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from core.errors import ConfigurationError
from core.monitoring.declared import Declared

log = structlog.get_logger()


class Collectors(Collector):
    """All collectors of a process on one page."""

    def __init__(self, collectors: Iterable[Collector]) -> None:
        self._collectors = [*collectors, ProcessCollector(registry=None)]

    def collect(self) -> Iterable[Metric]:
        for collector in self._collectors:
            yield from collector.collect()


class MetricsPage:
    """Answers `GET /metrics` in threads of its own until it is closed."""

    def __init__(self, server: Any, thread: Thread) -> None:
        self._server, self._thread = server, thread
        self.port: int = server.server_port

    @classmethod
    def start(cls, host: str, port: int, collectors: Iterable[Collector]) -> Self:
        """Listen on this address; port 0 takes a free one. Raises ConfigurationError if that cannot be."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Collectors(collectors))
        try:
            page = cls(*start_http_server(port, host, registry))
        except OSError as error:
            raise ConfigurationError(
                f"The metrics cannot be shown on port {port} of {host}: {error.strerror}. Choose another "
                "TUNERY_API_METRICS_PORT or TUNERY_WORKER_METRICS_PORT."
            ) from error
        log.info("metrics_page", host=host, port=page.port)
        return page

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def gauge(metric: Declared) -> GaugeMetricFamily:
    """Return a gauge without values, for a collector that reads them for each page."""
    return GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
