"""`tunery jobs`: create, estimate, watch, pause, cancel and delete fine-tuning jobs."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from cli.client import output, watch
from cli.client.client import Client
from cli.client.connection import connected
from cli.commands.files.command import Limit
from cli.commands.jobs import estimates
from cli.commands.jobs.request import of_a_job
from cli.commands.sending import create_with_files, delete_uploaded

app = typer.Typer(
    help="Create, estimate, watch, pause, cancel and delete fine-tuning jobs.", no_args_is_help=True
)

COLUMNS = ("id", "status", "model", "created_at", "finished_at", "fine_tuned_model")
DETAILS = (
    *("id", "status", "error", "model", "fine_tuned_model", "adapter_id", "training_file", "validation_file"),
    *("validation_split", "augmentation", "prepared"),
    *("result_files", "hyperparameters", "adapter", "training", "seed", "evaluate", "progress"),
    *("trained_tokens", "created_at", "estimated_finish", "finished_at"),
)
ROW_COLUMNS = ("part", "file_id", "line", "tokens", "loss_before", "loss_after", "change", "suspicion")

ENDINGS = "0 the job succeeded, 4 it failed, 5 it was cancelled, 6 it is paused."


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RowOrder(StrEnum):
    HARDEST = "hardest"
    MOST_CHANGED = "most_changed"
    MOST_FORGOTTEN = "most_forgotten"
    LIKELY_MISLABELLED = "likely_mislabelled"


class RowPart(StrEnum):
    TRAINING = "training"
    VALIDATION = "validation"


JobId = Annotated[str, typer.Argument(metavar="ID", help="ftjob-…")]


@app.command(epilog=f"Exit codes with --wait: {ENDINGS}")
@connected
@of_a_job
def create(
    client: Client,
    json: bool,
    request: dict[str, Any],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended or is paused")] = False,
) -> None:
    """Create a job. A local file is uploaded first."""
    job = create_with_files(client, "/fine_tuning/jobs", request)
    if wait:
        output.note(f"Created {job['id']}")
        _finish(watch.wait(client, job["id"]), json)
        return
    output.json(job) if json else output.record(job, DETAILS)
    output.note(f"Next: tunery jobs wait {job['id']}")


@app.command()
@connected
@of_a_job
def estimate(
    client: Client,
    json: bool,
    request: dict[str, Any],
    device: Annotated[
        list[str] | None,
        typer.Option("--device", help="Only this device, such as l4 or this-machine; may be repeated"),
    ] = None,
) -> None:
    """Say what a job would take: tokens, memory, disk, time and price.

    A local file is uploaded first, and deleted after the answer. No job is created. The options are those
    of `tunery jobs create`.
    """
    asked = {**request, "devices": device} if device else request
    try:
        answer = client.post("/fine_tuning/estimates", asked)
    finally:
        delete_uploaded(client)
    output.json(answer) if json else estimates.show(answer)


@app.command("list")
@connected
def list_jobs(
    client: Client,
    json: bool,
    search: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help="Only jobs whose names contain all of these words"),
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only jobs with this status")] = None,
    limit: Limit = 20,
) -> None:
    """List your project's jobs."""
    jobs = list(client.every("/fine_tuning/jobs", limit, search=search, status=status))
    output.json(jobs) if json else output.table(jobs, COLUMNS)


@app.command()
@connected
def get(client: Client, json: bool, job_id: JobId) -> None:
    """Show a job."""
    job = client.get(watch.job_path(job_id))
    output.json(job) if json else output.record(job, DETAILS)


@app.command(epilog=f"Exit codes with --follow: {ENDINGS}")
@connected
def logs(
    client: Client,
    json: bool,
    job_id: JobId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait until the job has ended or is paused")
    ] = False,
) -> None:
    """Print a job's events, the oldest first; with --json, one JSON object on each line."""
    watched = watch.Watch(client, job_id)
    if not follow:
        _print_events(watched.new_events(), json)
        return
    for job, events in watched.updates():
        _print_events(events, json)
        watch.raise_for_outcome(job)


@app.command()
@connected
def rows(
    client: Client,
    json: bool,
    job_id: JobId,
    order: Annotated[RowOrder, typer.Option(help="Which rows come first")] = RowOrder.HARDEST,
    part: Annotated[RowPart | None, typer.Option(help="Only rows of this part of the data")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The largest number of rows")] = 20,
) -> None:
    """List the losses of a job's rows before and after training, if it has training.row_losses."""
    found = list(client.every(f"{watch.job_path(job_id)}/rows", limit, order=order, part=part))
    output.json(found) if json else output.table(found, ROW_COLUMNS)
    if not found:
        output.note(
            "No losses of rows. A job measures them if it is created with --set training.row_losses=1000"
        )


@app.command(epilog=f"Exit codes: {ENDINGS}")
@connected
def wait(client: Client, json: bool, job_id: JobId) -> None:
    """Wait until a job has ended or is paused, and print it. Progress is shown on stderr."""
    _finish(watch.wait(client, job_id), json)


@app.command()
@connected
def cancel(client: Client, json: bool, job_id: JobId) -> None:
    """Cancel a job that has not ended."""
    _change(client, json, job_id, "cancel")


@app.command()
@connected
def delete(
    client: Client, json: bool, job_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="ftjob-…")]
) -> None:
    """Delete jobs that have ended, with their log, metrics and checkpoints. Adapters and files stay."""
    for job_id in job_ids:
        answer = client.delete(watch.job_path(job_id))
        output.json(answer) if json else output.note(f"Deleted {job_id}")


@app.command()
@connected
def pause(client: Client, json: bool, job_id: JobId) -> None:
    """Pause a queued or running job. A running job saves a checkpoint first."""
    _change(client, json, job_id, "pause")


@app.command()
@connected
def resume(client: Client, json: bool, job_id: JobId) -> None:
    """Let a paused job continue from its checkpoint."""
    _change(client, json, job_id, "resume")


def _change(client: Client, json: bool, job_id: str, verb: str) -> None:
    job = client.post(f"{watch.job_path(job_id)}/{verb}")
    output.json(job) if json else output.record(job, DETAILS)


def _finish(job: dict[str, Any], json: bool) -> None:
    output.json(job) if json else output.record(job, DETAILS)
    watch.raise_for_outcome(job)
    if job.get("adapter_id"):
        output.note(f"Next: tunery chat {job['fine_tuned_model']}")
        output.note(f"Or:   tunery adapters download {job['adapter_id']} DIR")


def _print_events(events: list[dict[str, Any]], json: bool) -> None:
    for event in events:
        if json:
            output.json(event)
        else:
            output.data(
                f"{output.cell('created_at', event['created_at'])}  {event['level']:<5}  {event['message']}"
            )
