"""`tunery jobs`: create, watch, pause, cancel and delete fine-tuning jobs."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.client import output, watch
from cli.client.client import Client
from cli.client.connection import connected
from cli.client.request_settings import (
    Model,
    Seed,
    Settings,
    Suffix,
    Training,
    read_settings,
    with_settings,
    without_none,
)
from cli.commands.files import Limit
from cli.commands.sending import file_id
from core.objectives import NAMES

app = typer.Typer(help="Create, watch, pause, cancel and delete fine-tuning jobs.", no_args_is_help=True)

COLUMNS = ("id", "status", "model", "created_at", "finished_at", "fine_tuned_model")
DETAILS = (
    *("id", "status", "error", "model", "fine_tuned_model", "adapter_id", "training_file", "validation_file"),
    *("result_files", "hyperparameters", "adapter", "training", "seed", "evaluate", "progress"),
    *("trained_tokens", "created_at", "estimated_finish", "finished_at"),
)
if TYPE_CHECKING:
    Method = str
else:
    Method = StrEnum("Method", {name.upper(): name for name in NAMES})

ENDINGS = "0 the job succeeded, 4 it failed, 5 it was cancelled, 6 it is paused."


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


JobId = Annotated[str, typer.Argument(metavar="ID", help="ftjob-…")]


@app.command(epilog=f"Exit codes with --wait: {ENDINGS}")
@connected
def create(
    client: Client,
    json: bool,
    training: Training,
    model: Model,
    validation: Annotated[
        str | None,
        typer.Option(metavar="FILE-OR-ID", help="The file on which the validation loss is measured"),
    ] = None,
    suffix: Suffix = None,
    seed: Seed = None,
    method: Annotated[Method, typer.Option(help="The objective; the rows of the file must fit it")] = Method(
        "supervised"
    ),
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Number of passes over the rows", show_default="auto")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Rows in each step", show_default="auto")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak of the learning rate", show_default="2e-4")
    ] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Number of devices", show_default="1")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="LoRA's r", show_default="16")] = None,
    alpha: Annotated[int | None, typer.Option(min=1, help="LoRA's lora_alpha", show_default="32")] = None,
    wandb: Annotated[str | None, typer.Option(metavar="PROJECT", help="Report to Weights & Biases")] = None,
    mlflow: Annotated[str | None, typer.Option(metavar="EXPERIMENT", help="Report to MLflow")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Keep a TensorBoard file")] = False,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate",
            help="Compare the result with its base model; --set evaluate.rows=100 and the like say how",
        ),
    ] = False,
    settings: Settings = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended or is paused")] = False,
) -> None:
    """Create a job. A local file is uploaded first."""
    given = read_settings(settings or [])
    asked = without_none(
        model=model,
        training_file=file_id(client, training),
        validation_file=file_id(client, validation) if validation else None,
        suffix=suffix,
        seed=seed,
        method=_method(method, n_epochs=epochs, batch_size=batch_size),
        adapter=_section({"type": "lora"}, r=rank, lora_alpha=alpha),
        training=_section({}, learning_rate=learning_rate, devices=devices),
        integrations=_integrations(wandb, mlflow, tensorboard),
        evaluate={} if evaluate else None,
    )
    job = client.post("/fine_tuning/jobs", with_settings(asked, given))
    if wait:
        output.note(f"Created {job['id']}")
        _finish(watch.wait(client, job["id"]), json)
        return
    output.json(job) if json else output.record(job, DETAILS)
    output.note(f"Next: tunery jobs wait {job['id']}")


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
        output.note(f"Next: tunery adapters download {job['adapter_id']} DIR")


def _print_events(events: list[dict[str, Any]], json: bool) -> None:
    for event in events:
        if json:
            output.json(event)
        else:
            output.data(
                f"{output.cell('created_at', event['created_at'])}  {event['level']:<5}  {event['message']}"
            )


def _method(method: Method, **hyperparameters: Any) -> dict[str, Any] | None:
    chosen = without_none(**hyperparameters)
    if method == "supervised" and not chosen:
        return None
    return {"type": str(method), str(method): {"hyperparameters": chosen}}


def _integrations(wandb: str | None, mlflow: str | None, tensorboard: bool) -> list[dict[str, Any]] | None:
    asked: list[dict[str, Any]] = []
    if wandb is not None:
        asked.append({"type": "wandb", "wandb": {"project": wandb}})
    if mlflow is not None:
        asked.append({"type": "mlflow", "mlflow": {"experiment": mlflow}})
    if tensorboard:
        asked.append({"type": "tensorboard"})
    return asked or None


def _section(fixed: dict[str, Any], **options: Any) -> dict[str, Any] | None:
    chosen = without_none(**options)
    return fixed | chosen if chosen else None
