"""TensorBoard: an event file, which each process writes from the first step on, and stores at the end."""

from contextlib import ExitStack
from pathlib import Path

from tensorboardX import SummaryWriter

from worker.process.scratch import scratch_folder
from worker.tasks.tracking.sinks import TrackedJob


class TensorboardRun:
    keeps_steps = False
    location = None

    def __init__(self, tracked: TrackedJob) -> None:
        self._scratch = ExitStack()
        self._folder = self._scratch.enter_context(scratch_folder("tensorboard"))
        self._writer = SummaryWriter(str(self._folder), filename_suffix=f".{tracked.job.id}")
        self._writer.add_text("config", _as_table(tracked), 0)

    def log(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def end(self, status: str | None) -> Path:  # noqa: ARG002 - the file has no status
        self._writer.close()
        (file,) = self._folder.iterdir()
        return file


def open_run(tracked: TrackedJob) -> TensorboardRun:
    return TensorboardRun(tracked)


def _as_table(tracked: TrackedJob) -> str:
    rows = "\n".join(f"| {name} | `{value}` |" for name, value in tracked.config.items())
    return f"| | |\n| --- | --- |\n{rows}"
