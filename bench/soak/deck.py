"""Decides which fault comes next: all of them in random order, and then again in another order."""

import random
import threading
from collections.abc import Callable, Sequence

from bench.soak.registry import Fault


class Deck:
    """Faults that several threads draw. What one of them touches, no other one touches meanwhile."""

    def __init__(self, faults: Sequence[Fault], numbers: random.Random) -> None:
        self._faults, self._random = list(faults), numbers
        self._left: list[Fault] = []
        self._busy: set[str] = set()
        self._never = set(faults)
        self._lock = threading.Lock()

    @property
    def each_was_drawn(self) -> bool:
        return not self._never

    def draw(self, allowed: Callable[[Fault], bool]) -> Fault | None:
        """Return a fault, or None if none is allowed that touches nothing busy. Give it back afterwards."""
        with self._lock:
            if not any(map(allowed, self._left)):
                self._left = self._random.sample(self._faults, len(self._faults))
            for fault in self._left:
                if allowed(fault) and not fault.touches & self._busy:
                    self._left.remove(fault)
                    self._busy |= fault.touches
                    return fault
        return None

    def give_back(self, fault: Fault) -> None:
        with self._lock:
            self._busy -= fault.touches
            self._never.discard(fault)
