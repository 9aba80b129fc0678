"""Weights & Biases: one run for a job, whose id is the job's, also after a resume."""

import os
import shutil
from pathlib import Path

import wandb

from worker.tracking.sinks import Report, TrackerRefused

INIT_SECONDS = 60


class WandbRun:
    def __init__(self, run: wandb.Run) -> None:
        self._run = run
        # `log` returns before anything is sent, so a process that is killed leaves steps unsent. W&B drops
        # those that a run has already; offline, each process writes a run of its own.
        self.remembers = run.offline
        self.place = None if run.offline else run.url

    def log(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def end(self, status: str | None) -> None:
        if status is None:
            self._run.mark_preempting()
        else:
            self._run.summary["status"] = status
        self._run.finish(exit_code=0 if status == "succeeded" else 1)
        if not self._run.offline:
            shutil.rmtree(Path(self._run.dir).parent, ignore_errors=True)  # all of it is there by now


def open_run(report: Report) -> WandbRun:
    """Raises TrackerRefused where the project has no key; one that the worker has for itself is not used."""
    offline = os.environ.get("WANDB_MODE") in ("offline", "disabled")
    key = report.secrets.get("WANDB_API_KEY")
    if key is None and not offline:
        raise TrackerRefused(
            "the project has no secret WANDB_API_KEY; `tunery secrets set WANDB_API_KEY` stores one"
        )
    asked = report.settings["wandb"]
    report.folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project=asked["project"],
        entity=asked.get("entity"),
        name=asked.get("name") or report.job.id,
        tags=[*(asked.get("tags") or ()), *report.tags],
        id=report.job.id,
        resume=None if offline else "allow",
        dir=report.folder,
        config=report.config,
        settings=wandb.Settings(
            api_key=key,
            init_timeout=INIT_SECONDS,
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_disable_meta=True,
            x_disable_stats=True,
        ),
    )
    return WandbRun(run)
