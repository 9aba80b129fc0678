"""Waits for a task, such as an export or a run of an eval, and says what the server does meanwhile."""

import time
from collections.abc import Mapping
from typing import Any

from cli.client.client import Client
from cli.client.errors import WorkCancelled, WorkFailed
from cli.client.patience import POLL_SECONDS, Patience
from cli.client.progress import Lines


def carry_out(client: Client, path: str, request: dict[str, Any], tasks: str, title: str) -> dict[str, Any]:
    """Create a task, and return it once it has succeeded. `tasks` is the path at which tasks are read.

    `title` names the task. Raises WorkFailed and WorkCancelled.
    """
    made = wait_for_task(client, f"{tasks}/{client.post(path, request)['id']}")
    require_success(made, title)
    return made


def wait_for_task(client: Client, path: str, member: str | None = None) -> dict[str, Any]:
    """Return what `path` answers once the task in it has ended. The server has just answered.

    The answer is the task, or `member` names the part of the answer that is the task.
    """
    patience = Patience(answered=time.monotonic())
    lines = Lines()
    while True:
        answer = patience.ask(lambda: client.get(path))
        task = answer[member] if member else answer
        if task["finished_at"] is not None:
            return answer
        show_task(lines, task)
        time.sleep(POLL_SECONDS)


def show_task(lines: Lines, task: Mapping[str, Any]) -> None:
    phase, percent = task["progress"]["phase"] or task["status"], task["progress"]["percent"]
    lines.show(phase, percent, f"{task.get('name') or task['id']}: {phase} {percent:.0f} %")


def require_success(task: Mapping[str, Any], title: str, left: str = "") -> None:
    """Raise WorkFailed or WorkCancelled if the task has not succeeded.

    `title` names the task, and `left` says what it has left.
    """
    if task["status"] in ("cancelled", "canceled"):  # runs of evals have OpenAI's word
        raise WorkCancelled(f"The {title} was cancelled.{left}")
    if task["status"] == "failed":
        raise WorkFailed(f"The {title} failed: {task['error']['message']}{left}")
