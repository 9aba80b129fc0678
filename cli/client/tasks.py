"""Waits for a task, such as an export or a run of an eval, and says what the server does meanwhile."""

import time
from collections.abc import Mapping
from typing import Any

from cli.client import output
from cli.client.client import Client
from cli.client.errors import WorkCancelled, WorkFailed
from cli.client.patience import POLL_SECONDS, Patience
from cli.client.progress import LINE_SECONDS


def wait_for_task(client: Client, path: str, member: str | None = None) -> dict[str, Any]:
    """Return what `path` answers once the task in it has ended. The server has just answered.

    The answer is the task, or `member` names the part of the answer that is the task.
    """
    patience = Patience(answered=time.monotonic())
    lines = TaskLines()
    while True:
        answer = patience.ask(lambda: client.get(path))
        task = answer[member] if member else answer
        if task["finished_at"] is not None:
            return answer
        lines.show(task)
        time.sleep(POLL_SECONDS)


class TaskLines:
    """Prints a line at each change of phase, and at most every `line_seconds` when work was done."""

    def __init__(self, line_seconds: float = LINE_SECONDS) -> None:
        self._line_seconds = line_seconds
        self._phase: str | None = None
        self._percent, self._printed = -1.0, 0.0

    def show(self, task: Mapping[str, Any]) -> None:
        phase, percent = task["progress"]["phase"] or task["status"], task["progress"]["percent"]
        is_early = time.monotonic() - self._printed < self._line_seconds
        if phase == self._phase and (percent == self._percent or is_early):
            return
        self._phase, self._percent, self._printed = phase, percent, time.monotonic()
        output.note(f"{task.get('name') or task['id']}: {phase} {percent:.0f} %")


def require_success(task: Mapping[str, Any], title: str, left: str = "") -> None:
    """Raise WorkFailed or WorkCancelled if the task has not succeeded.

    `title` names the task, and `left` says what it has left.
    """
    if task["status"] in ("cancelled", "canceled"):  # runs of evals have OpenAI's word
        raise WorkCancelled(f"The {title} was cancelled.{left}")
    if task["status"] == "failed":
        raise WorkFailed(f"The {title} failed: {task['error']['message']}{left}")
