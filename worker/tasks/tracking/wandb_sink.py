"""Weights & Biases: each job has one run with the job's id, also after a resume."""

import shutil
from pathlib import Path

import wandb

from core.jobs.integrations import WANDB_SECRET, wandb_is_offline
from worker.tasks.tracking.sinks import TrackedJob, TrackerRefused

INIT_SECONDS = 60


class WandbRun:
    def __init__(self, run: wandb.Run) -> None:
        self._run = run
        # `log` returns before a step is sent, so a process that is killed may leave steps unsent. The next
        # process sends all steps again, and W&B drops the steps that the run already has. Offline, each
        # process writes a run of its own, which must not repeat steps.
        self.keeps_steps = run.offline
        self.location = None if run.offline else run.url

    def log(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def end(self, status: str | None) -> None:
        if status is None:
            self._run.mark_preempting()
        else:
            self._run.summary["status"] = status
        self._run.finish(exit_code=0 if status == "succeeded" else 1)
        if not self._run.offline:
            shutil.rmtree(Path(self._run.dir).parent, ignore_errors=True)  # W&B has everything by now


def open_run(tracked: TrackedJob) -> WandbRun:
    """Open the job's run. Raises TrackerRefused if the project has no key: the worker's own is not used."""
    offline = wandb_is_offline()
    key = tracked.secrets.get(WANDB_SECRET)
    if key is None and not offline:
        raise TrackerRefused(
            "the project has no secret WANDB_API_KEY; `tunery secrets set WANDB_API_KEY` stores one"
        )
    asked = tracked.settings["wandb"]
    tracked.folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project=asked["project"],
        entity=asked.get("entity"),
        name=asked.get("name") or tracked.job.id,
        tags=[*(asked.get("tags") or ()), *tracked.tags],
        id=tracked.job.id,
        resume=None if offline else "allow",
        dir=tracked.folder,
        config=tracked.config,
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
