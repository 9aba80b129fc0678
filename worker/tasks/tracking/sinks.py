"""The interface of a tracker, and the function that opens one."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from core.errors import TuneryError
from core.jobs.integrations import LIBRARIES
from core.jobs.spec import shown_spec
from core.tables import Job


class TrackerRefused(TuneryError):
    """A tracker cannot work with its present settings, now or later; str() is for the job's client."""


@dataclass(frozen=True)
class TrackedJob:
    """A job to report, and all that a tracker may use to report it.

    `settings` is the job's entry in `integrations`. `secrets` has the project's secret for the tracker by
    its name. `folder` is the tracker's own folder on this worker. `mlflow_uris` are the servers that the
    operator offers.
    """

    job: Job
    settings: dict[str, Any]
    secrets: dict[str, str]
    folder: Path
    mlflow_uris: list[str]

    @property
    def config(self) -> dict[str, Any]:
        """The job's settings, for people who compare runs."""
        files = {"training_file": self.job.training_file_id, "validation_file": self.job.validation_file_id}
        return {"job_id": self.job.id, **files, **shown_spec(self.job.spec)}

    @property
    def tags(self) -> list[str]:
        """OpenAI's default tags, with `tunery` in place of `openai`."""
        return [
            tag[:64] for tag in ("tunery/finetune", f"tunery/{self.job.base_model}", f"tunery/{self.job.id}")
        ]


class Sink(Protocol):
    """A tracker's run for one job. Its methods may raise any error of the tracker's library, and may hang."""

    keeps_steps: bool
    """Whether a logged step is safe even if this process is killed. A later process then reports only new
    steps."""

    location: str | None
    """Where people find the run."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Report the metrics of one step."""

    def end(self, status: str | None) -> Path | None:
        """Finish the run with the job's final status; None means that the job has not ended.

        Returns a file that belongs to the job's results, or None.
        """


def open_sink(type_: str, tracked: TrackedJob) -> Sink:
    """Open the job's run in the tracker. Raises TrackerRefused if the library or a secret is missing."""
    try:
        module = import_module(f"worker.tasks.tracking.{type_}_sink")
    except ModuleNotFoundError as error:
        if error.name != LIBRARIES[type_]:
            raise
        raise TrackerRefused(
            f"the worker does not have the library; its operator can install it with tunery[{type_}]"
        ) from error
    sink: Sink = module.open_run(tracked)
    return sink
