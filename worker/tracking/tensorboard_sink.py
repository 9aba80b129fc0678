"""TensorBoard: an event file, which each process writes from the first step on, and stores at the end."""

import tempfile
from pathlib import Path

from tensorboardX import SummaryWriter

from worker.tracking.sinks import TrackedJob


class TensorboardRun:
    keeps_steps = False
    location = None

    def __init__(self, tracked: TrackedJob) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tunery-tensorboard-")
        self._writer = SummaryWriter(self._folder.name, filename_suffix=f".{tracked.job.id}")
        self._writer.add_text("config", _as_table(tracked), 0)

    def log(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def end(self, status: str | None) -> Path:  # noqa: ARG002 - the file has no status
        self._writer.close()
        (file,) = Path(self._folder.name).iterdir()
        return file


def open_run(tracked: TrackedJob) -> TensorboardRun:
    return TensorboardRun(tracked)


def _as_table(tracked: TrackedJob) -> str:
    rows = "\n".join(f"| {name} | `{value}` |" for name, value in tracked.config.items())
    return f"| | |\n| --- | --- |\n{rows}"
