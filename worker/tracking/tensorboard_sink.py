"""TensorBoard: an event file, made anew by every process from the first step on, and stored at the end."""

import tempfile
from pathlib import Path

from tensorboardX import SummaryWriter

from worker.tracking.sinks import Report


class TensorboardRun:
    remembers = False
    place = None

    def __init__(self, report: Report) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tunery-tensorboard-")
        self._writer = SummaryWriter(self._folder.name, filename_suffix=f".{report.job.id}")
        self._writer.add_text("config", _as_table(report), 0)

    def log(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def end(self, status: str | None) -> Path:  # noqa: ARG002 (the file holds steps)
        self._writer.close()
        (file,) = Path(self._folder.name).iterdir()
        return file


def open_run(report: Report) -> TensorboardRun:
    return TensorboardRun(report)


def _as_table(report: Report) -> str:
    rows = "\n".join(f"| {name} | `{value}` |" for name, value in report.config.items())
    return f"| | |\n| --- | --- |\n{rows}"
