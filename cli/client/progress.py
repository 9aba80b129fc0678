"""Shows a job's progress while a command waits: a live bar in a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from cli.client import output

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# Seconds between two plain lines of the same phase
LINE_SECONDS = 10.0


class Display(Protocol):
    def show(self, job: dict[str, Any], events: list[dict[str, Any]]) -> None: ...


@contextmanager
def progress_display() -> Iterator[Display]:
    """Yield the display that fits stderr. A bar disappears at the end of the block."""
    from rich.progress import BarColumn, Progress, TextColumn

    console = output.stderr()
    if not console.is_terminal:
        yield JobLines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress)


class Bar:
    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("connecting", total=None, figures="")
        self._losses = Losses()

    def show(self, job: dict[str, Any], events: list[dict[str, Any]]) -> None:
        self._losses.read(events)
        at = job.get("progress") or {}
        self._progress.update(
            self._task,
            description=phase(job),
            total=at.get("total_steps"),
            completed=at.get("step") or 0,
            figures=figures(job, self._losses.latest),
        )


class Lines:
    """Prints a line at each change of phase, and at most every `line_seconds` when some work was done."""

    def __init__(self, line_seconds: float = LINE_SECONDS) -> None:
        self._line_seconds = line_seconds
        self._phase: str | None = None
        self._done: float | None = None
        self._printed = 0.0

    def show(self, phase: str, done: float | None, text: str) -> None:
        is_early = time.monotonic() - self._printed < self._line_seconds
        if phase == self._phase and (done == self._done or is_early):
            return
        self._phase, self._done, self._printed = phase, done, time.monotonic()
        output.note(text)


class JobLines:
    """Prints the progress of a job in lines."""

    def __init__(self, line_seconds: float = LINE_SECONDS) -> None:
        self._losses, self._lines = Losses(), Lines(line_seconds)

    def show(self, job: dict[str, Any], events: list[dict[str, Any]]) -> None:
        self._losses.read(events)
        now, step = phase(job), (job.get("progress") or {}).get("step")
        text = "  ".join(part for part in (now, figures(job, self._losses.latest)) if part)
        self._lines.show(now, step, text)


class Losses:
    """Remembers the last training loss among the metrics events."""

    def __init__(self) -> None:
        self.latest: float | None = None

    def read(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            loss = (event.get("data") or {}).get("train_loss") if event.get("type") == "metrics" else None
            if loss is not None:
                self.latest = loss


def phase(job: dict[str, Any]) -> str:
    """Return the job's phase or status, with the position in the queue if the job waits."""
    at = job.get("progress") or {}
    if job["status"] == "queued" and at.get("queue_position"):
        return f"queued ({at['queue_position']})"
    return (job["status"] == "running" and at.get("phase")) or job["status"]


def figures(job: dict[str, Any], loss: float | None) -> str:
    """Return step, loss, tokens per second and time left, as far as they are known."""
    at = job.get("progress") or {}
    parts = []
    if at.get("total_steps"):
        parts.append(f"step {at.get('step') or 0}/{at['total_steps']}")
    if loss is not None:
        parts.append(f"loss {loss:.3f}")
    if at.get("tokens_per_second"):
        parts.append(f"{at['tokens_per_second']:,.0f} tokens/s")
    if job["status"] == "running" and job.get("estimated_finish"):
        parts.append(f"{duration(job['estimated_finish'] - time.time())} left")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration such as `48s`, `3m07s` or `2h05m`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
