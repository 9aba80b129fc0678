"""Follows a job until it has ended or is paused, and raises the error of its outcome."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cli.client import output
from cli.client.client import path_to
from cli.client.errors import JobPaused, WorkCancelled, WorkFailed
from cli.client.patience import POLL_SECONDS, Patience
from core.statuses import ENDED

if TYPE_CHECKING:
    from cli.client.client import Client

STANDING = (*ENDED, "paused")  # in these statuses nothing happens by itself, so waiting ends
PAGE = 100


@dataclass
class Watch:
    """Reads one job and its events again and again."""

    client: "Client"
    job_id: str
    _newest: str | None = None
    _patience: Patience = field(default_factory=Patience, init=False)

    def updates(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Yield the job and its new events, oldest first, repeatedly until the job has ended or is paused.

        The job is read before its events, so that no event is missed at the end.
        """
        while True:
            job = self._patience.ask(lambda: self.client.get(job_path(self.job_id)))
            yield job, self._patience.ask(self.new_events)
            if job["status"] in STANDING:
                return
            time.sleep(POLL_SECONDS)

    def new_events(self) -> list[dict[str, Any]]:
        """Return the events since the last call, oldest first.

        The API lists the newest first, so this reads pages until it meets the newest event of the last call.
        """
        path = job_path(self.job_id) + "/events"
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = self.client.get(path, limit=PAGE, after=after)
            for event in page["data"]:
                if event["id"] == self._newest:
                    return self._remember(found)
                found.append(event)
            if not page.get("has_more") or not page["data"]:
                return self._remember(found)
            after = page["data"][-1]["id"]

    def _remember(self, newest_first: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if newest_first:
            self._newest = newest_first[0]["id"]
        return newest_first[::-1]


def job_path(job_id: str) -> str:
    return path_to("/fine_tuning/jobs", job_id)


def wait(client: "Client", job_id: str) -> dict[str, Any]:
    """Show progress on stderr until the job has ended or is paused, and return it."""
    from cli.client.progress import progress_display

    try:
        with progress_display() as display:
            for job, events in Watch(client, job_id).updates():
                display.show(job, events)
    except KeyboardInterrupt:
        output.note(f"The job goes on. `tunery jobs wait {job_id}` watches it again.")
        raise
    return job


def raise_for_outcome(job: dict[str, Any]) -> None:
    """Raise WorkFailed, WorkCancelled or JobPaused, as the job's status demands."""
    if job["status"] == "failed":
        error = job.get("error") or {}
        message = error.get("message") or "no reason was given"
        raise WorkFailed(f"The job {job['id']} failed: {message} ({error.get('code') or 'unknown'})")
    if job["status"] == "cancelled":
        raise WorkCancelled(f"The job {job['id']} was cancelled")
    if job["status"] == "paused":
        raise JobPaused(f"The job {job['id']} is paused. `tunery jobs resume {job['id']}` continues it")
