"""How often a worker does each of its duties, by the constants and the usual settings of the service."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

from core.settings import Settings
from worker.supervisor import webhooks
from worker.tasks.frame import waiting
from worker.trainer.report.heartbeats import BEAT_SECONDS


@dataclass(frozen=True)
class Rates:
    """The seconds between two calls of a duty of one worker, and the seconds that a job takes."""

    job: float
    beat: float
    scan: float
    look: float
    tasks: float
    trackers: float
    webhooks: float
    janitor: float

    @classmethod
    def of(cls, settings: Settings, job: float) -> Self:
        scan = settings.scan_seconds
        return cls(
            job=job,
            beat=BEAT_SECONDS,
            scan=scan,
            look=scan,
            tasks=waiting.FRESH_SECONDS,
            trackers=waiting.READY_SECONDS,
            webhooks=webhooks.POLL_SECONDS,
            janitor=scan,
        )

    def stretched(self, times: float) -> Self:
        """Return the same rates, as many times as slow. The length of a job stays."""
        slower = {each.name: getattr(self, each.name) * times for each in fields(self) if each.name != "job"}
        return replace(self, **slower)

    @property
    def by_duty(self) -> dict[str, float]:
        """Calls of each duty of one worker per second."""
        return {
            "claim": 1 / self.job,
            "renewal with a step": 1 / self.beat,
            "end of a job": 1 / self.job,
            "scan": 1 / self.scan,
            "look for a job": 1 / self.look,
            "look for tasks": 1 / self.tasks,
            "look for trackers": 1 / self.trackers,
            "look for webhooks": 1 / self.webhooks,
            "janitor": 1 / self.janitor,
        }
