"""Waits for a task of the server, such as an export, and says what the server does meanwhile."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from cli.client import output
from cli.client.errors import GaveUp

POLL_SECONDS = 1.0


def wait_for_task(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the task that `read` asks the server for, once it has ended."""
    said = None
    while (task := read())["finished_at"] is None:
        doing = task["progress"]["phase"] or task["status"]
        if doing != said:
            output.note(f"{task['id']}: {doing}")
            said = doing
        time.sleep(POLL_SECONDS)
    return task


def require_success(task: Mapping[str, Any], title: str, left: str = "") -> None:
    """Raise GaveUp if the task has not succeeded. `title` names it, and `left` says what it has left."""
    if task["status"] != "succeeded":
        reason = task["error"]["message"] if task["error"] else "it was cancelled"
        raise GaveUp(f"The {title} {task['status']}: {reason}{left}")
