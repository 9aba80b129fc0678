"""The interface through which a job reports its progress, metrics, events and warnings while it trains."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Unpack

from core.jobs.events import EventOptions
from core.jobs.lifecycle import Progress
from worker.trainer.report.warnings import TrainingWarning


@dataclass(frozen=True)
class StepMetrics:
    """The metrics of one optimizer step, by their names."""

    step: int
    data: dict[str, Any]


@dataclass(frozen=True)
class JobEvent:
    """One entry of a job's log.

    A job gets at most one event with a given `once_as`. So steps that are made again after a resume report
    nothing twice.
    """

    message: str
    once_as: str | None
    options: EventOptions

    def with_data(self, **more: Any) -> "JobEvent":
        """Return the event with `more` added to its data."""
        data = {**(self.options.get("data") or {}), **more}
        return replace(self, options={**self.options, "data": data})


class Reporter(ABC):
    """Takes the reports of one adapter in training.

    A job's only adapter reports to its `JobLease`. Each candidate of a search has a `CandidateReporter`.
    """

    is_best: bool
    """Whether the reports count as the job's. With several candidates, only those of the best one do."""
    decided: bool
    """Whether no other candidate can take this one's place any more."""

    @abstractmethod
    def progress(self, progress: Progress) -> None:
        """Report where the training stands now."""

    @abstractmethod
    def metrics(self, metrics: StepMetrics, message: str) -> None:
        """Report one step's metrics, with the sentence that the client reads about them."""

    @abstractmethod
    def report(self, event: JobEvent) -> None:
        """Add an event to the job's log."""

    def event(self, message: str, once_as: str | None = None, **options: Unpack[EventOptions]) -> None:
        """Report an event; `JobEvent` says what `once_as` does."""
        self.report(JobEvent(message, once_as, options))

    def warn(self, warning: TrainingWarning) -> None:
        """Report a warning as an event. A job gets each kind of warning once."""
        self.event(warning.message, once_as=warning.code, level="warn", data=warning.data)
