"""Runs the demo's job with the official `openai` client, as a user of that client would write it."""

import io
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.client.progress import progress_display
from cli.client.watch import STANDING, raise_for_outcome

if TYPE_CHECKING:
    from openai import OpenAI

POLL_SECONDS = 0.5
CHATS_AT_ONCE = 8


@dataclass
class Outcome:
    """The ended job as the API shows it, its metrics by step, and the seconds of each phase."""

    job: dict[str, Any]
    metrics: list[dict[str, Any]]
    seconds: dict[str, float]


def train(client: "OpenAI", model: str, training: Path, validation: Path, options: dict[str, Any]) -> Outcome:
    """Upload both files, create the job, and watch it to its end. Raises if the job does not succeed."""
    started = time.monotonic()
    with training.open("rb") as rows, validation.open("rb") as held_out:
        training_file = client.files.create(file=rows, purpose="fine-tune")
        validation_file = client.files.create(file=held_out, purpose="fine-tune")
    uploaded = time.monotonic()
    job = client.fine_tuning.jobs.create(
        model=model,
        training_file=training_file.id,
        validation_file=validation_file.id,
        suffix="demo",
        seed=1,
        **options,
    )
    outcome = _watch(client, job.id)
    outcome.seconds = {"upload": uploaded - started, **outcome.seconds}
    return outcome


def answers(client: "OpenAI", model: str, rows: list[dict[str, Any]], max_tokens: int) -> list[str]:
    """Let a model answer the rows' prompts, several at once, always with the likeliest token."""

    def answer(row: dict[str, Any]) -> str:
        completion = client.chat.completions.create(
            model=model, messages=row["messages"][:-1], temperature=0, max_completion_tokens=max_tokens
        )
        return (completion.choices[0].message.content or "").strip()

    with ThreadPoolExecutor(CHATS_AT_ONCE) as threads:
        return list(threads.map(answer, rows))


def download(client: "OpenAI", adapter_id: str, folder: Path) -> None:
    """Download the adapter's files to `folder`, with the client's own `get`."""
    import httpx2

    archive = client.get(f"/adapters/{adapter_id}/content", cast_to=httpx2.Response)
    with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
        files.extractall(folder)


def _watch(client: "OpenAI", job_id: str) -> Outcome:
    seconds: dict[str, float] = {}
    seen: set[str] = set()
    metrics: list[dict[str, Any]] = []
    looked = time.monotonic()
    with progress_display() as display:
        while True:
            job: dict[str, Any] = client.fine_tuning.jobs.retrieve(job_id).to_dict()
            new = [event for event in _events(client, job_id) if event["id"] not in seen]
            seen.update(event["id"] for event in new)
            metrics += [event["data"] for event in new if event["type"] == "metrics"]
            display.show(job, new)
            now = time.monotonic()
            phase = _phase(job)
            seconds[phase] = seconds.get(phase, 0.0) + now - looked
            looked = now
            if job["status"] in STANDING:
                break
            time.sleep(POLL_SECONDS)
    raise_for_outcome(job)
    return Outcome(job, metrics, seconds)


def _events(client: "OpenAI", job_id: str) -> list[dict[str, Any]]:
    """Return the newest page of events, oldest first. It is read twice a second, so no step is missed."""
    page = client.fine_tuning.jobs.list_events(job_id, limit=50)
    return [event.to_dict() for event in reversed(page.data)]


def _phase(job: dict[str, Any]) -> str:
    at = job.get("progress") or {}
    return str((job["status"] == "running" and at.get("phase")) or job["status"])
