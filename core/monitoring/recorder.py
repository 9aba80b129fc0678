"""Records the service metrics of one process, or of one app, by the library `prometheus_client`."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from core.monitoring.declared import Declared

disable_created_metrics()  # a second series for each counter, with the time at which it was made


class Recorder:
    """Holds the metrics of `registry`, each made when it is first needed. Any thread may call."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._made: dict[str, Any] = {}
        self._making = threading.Lock()

    def count(self, metric: Declared, amount: float = 1, /, **labels: object) -> None:
        """Add to a counter. An amount of 0 makes its series appear, so that Prometheus sees the first one."""
        self.series(metric, labels).inc(amount)

    def set(self, metric: Declared, value: float, /, **labels: object) -> None:
        self.series(metric, labels).set(value)

    def observe(self, metric: Declared, value: float, /, **labels: object) -> None:
        self.series(metric, labels).observe(value)

    @contextmanager
    def timed(self, metric: Declared, /, **labels: object) -> Iterator[None]:
        """Observe how long the block takes, in seconds, unless it raises."""
        began = time.monotonic()
        yield
        self.observe(metric, time.monotonic() - began, **labels)

    def series(self, metric: Declared, labels: dict[str, object]) -> Any:
        """Return the library's counter, gauge or histogram with these labels, for callers that keep it."""
        made = self._made.get(metric.name) or self._make(metric)
        return made.labels(**labels) if labels else made

    def _make(self, metric: Declared) -> Any:
        with self._making:
            if metric.name not in self._made:
                self._made[metric.name] = _new(metric, self.registry)
            return self._made[metric.name]


def _new(metric: Declared, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    options: dict[str, Any] = {"labelnames": metric.labels, "registry": registry}
    match metric.kind:
        case "counter":
            return Counter(metric.name, metric.meaning, **options)
        case "gauge":  # of the processes that share a folder, the last one that wrote it
            return Gauge(metric.name, metric.meaning, multiprocess_mode="mostrecent", **options)
        case "histogram":
            return Histogram(metric.name, metric.meaning, buckets=metric.buckets, **options)
