"""How long a soak test takes, how many jobs it trains, and how fast faults follow each other."""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """The size of one soak test. All durations of faults are multiplied by `pace`."""

    seed: int
    seconds: float
    jobs: int
    models: Sequence[str]
    catalog: Path | None = None
    model_store: Path | None = None
    pace: float = 1.0
    epochs: int = 3  # a job has at most so many
    at_once: int = 12  # so many jobs have not ended, while there are jobs left
    projects: int = 3
    lease_seconds: float = 15.0
    scan_seconds: float = 2.0
    checkpoint_seconds: float = 5.0
    settle_seconds: float = 900.0  # for the jobs that have not ended when the faults are over

    @property
    def settings(self) -> dict[str, str]:
        """The settings of the service that a soak test has chosen."""
        named = {
            "TUNERY_LEASE_SECONDS": self.lease_seconds,
            "TUNERY_SCAN_SECONDS": self.scan_seconds,
            "TUNERY_CHECKPOINT_SECONDS": self.checkpoint_seconds,
            "TUNERY_CATALOG_FILE": self.catalog or "",
            "TUNERY_MODEL_STORE": self.model_store or "",
            "TUNERY_MAX_LOST_ATTEMPTS": 1000,  # so that no job fails because its trainers were killed
            "TUNERY_EGRESS_ALLOW": "127.0.0.1",
        }
        return {name: str(value) for name, value in named.items()}

    def dice(self, name: str, over: threading.Event) -> "Dice":
        """Return random numbers that follow from the seed and the name. `over` ends every wait."""
        return Dice(random.Random(f"{self.seed} {name}"), self.pace, over)


class Dice:
    """Random numbers and waits. No wait outlasts the test."""

    def __init__(self, numbers: random.Random, pace: float, over: threading.Event) -> None:
        self.random = numbers
        self._pace, self.over = pace, over

    def choice(self, among: Sequence[T]) -> T:
        return self.random.choice(among)

    def wait(self, least: float, most: float) -> None:
        """Wait for a random time between these seconds, times the pace of the test."""
        self.over.wait(self.random.uniform(least, most) * self._pace)
