"""What a tracker looks like from here, and which there are."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from core.errors import TuneryError
from core.jobs.integrations import LIBRARIES
from core.tables import Job

PROJECT_SECRETS = {"wandb": ("WANDB_API_KEY",), "mlflow": ("MLFLOW_TRACKING_TOKEN",), "tensorboard": ()}
"""Secrets of the job's project that a tracker is given. It gets no other, and none of the worker's own."""


class TrackerRefused(TuneryError):
    """It cannot work as it is set up, now or later; str() is read by the job's client."""


@dataclass(frozen=True)
class Report:
    """What is reported, and what a tracker may use for it."""

    job: Job
    settings: dict[str, Any]
    secrets: dict[str, str]
    folder: Path
    mlflow_uris: list[str]

    @property
    def config(self) -> dict[str, Any]:
        """How the job trains, for people who compare runs."""
        files = {"training_file": self.job.training_file_id, "validation_file": self.job.validation_file_id}
        return {"job_id": self.job.id, **files, **self.job.spec}

    @property
    def tags(self) -> list[str]:
        """OpenAI's default tags, in our name."""
        return [
            tag[:64] for tag in ("tunery/finetune", f"tunery/{self.job.base_model}", f"tunery/{self.job.id}")
        ]


class Sink(Protocol):
    """A tracker's run for one job. It may raise whatever its library does, and may hang."""

    remembers: bool
    """Whether it still has, in a later process, what it was given: only new steps are reported then."""

    place: str | None
    """Where people find the run."""

    def log(self, step: int, values: dict[str, float]) -> None: ...

    def end(self, status: str | None) -> Path | None:
        """Finish with the job's last status; None where the job has not ended, but we stop reporting.

        Returns a file that belongs to the job's results, where there is one.
        """


def open_sink(type_: str, report: Report) -> Sink:
    """Raises TrackerRefused where the library is not installed or a secret is missing."""
    try:
        module = import_module(f"worker.tracking.{type_}_sink")
    except ModuleNotFoundError as error:
        if error.name != LIBRARIES[type_]:
            raise
        raise TrackerRefused(
            f"the worker lacks the library; its operator installs it by tunery[{type_}]"
        ) from error
    sink: Sink = module.open_run(report)
    return sink
