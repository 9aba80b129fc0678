"""The memory of the service's processes over time."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from statistics import median

import psutil

from bench.soak.service import Service

KINDS = ("api", "worker", "trainer")
LOOK_SECONDS = 5.0
GROWTH = 1.1  # allowed factor of a process's memory, from the middle third of its life to the last third
LEAST_LIFE = 1800.0  # seconds: before, the number of jobs that train together still changes the memory

Sample = tuple[float, int]


class Memory:
    """Looks at the memory of each process every LOOK_SECONDS, until it is stopped."""

    def __init__(self, service: Service) -> None:
        self.samples: dict[tuple[str, int], list[Sample]] = defaultdict(list)
        """Pairs of seconds since the start and RSS in bytes, by the kind and the pid of the process"""
        self._service = service
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            for kind in KINDS:
                for process in self._service.find(kind):
                    with suppress(psutil.Error):
                        now = time.monotonic() - self._began
                        self.samples[kind, process.pid].append((now, process.memory_info().rss))

    def over_time(self) -> dict[str, list[tuple[int, int]]]:
        """Return for each kind the largest process of every minute: pairs of minute and megabytes."""
        largest: dict[str, dict[int, int]] = {kind: {} for kind in KINDS}
        for (kind, _), samples in self.samples.items():
            for seconds, size in samples:
                minute = int(seconds // 60)
                largest[kind][minute] = max(largest[kind].get(minute, 0), size)
        return {
            kind: [(minute, round(size / 1e6)) for minute, size in sorted(by_minute.items())]
            for kind, by_minute in largest.items()
        }

    def judged(self) -> dict[str, tuple[int, int]]:
        """Return the megabytes of each kind in the middle and the last third of its longest life.

        Both are medians. A kind is missing if none of its processes lived for LEAST_LIFE.
        """
        found: dict[str, tuple[int, int]] = {}
        for kind in KINDS:
            lives = [samples for (of, _), samples in self.samples.items() if of == kind]
            longest = max(lives, key=len, default=[])
            if longest and longest[-1][0] - longest[0][0] >= LEAST_LIFE:
                sizes = [size for _, size in longest]
                third = len(sizes) // 3
                middle, last = median(sizes[third : 2 * third]), median(sizes[-third:])
                found[kind] = round(middle / 1e6), round(last / 1e6)
        return found

    def violations(self) -> Iterator[str]:
        for kind, (middle, last) in self.judged().items():
            if last > GROWTH * middle:
                yield f"the memory of the {kind} grew from {middle} to {last} MB"
