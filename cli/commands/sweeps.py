"""`tunery sweeps`: tries values of a job's parameters, and keeps the best."""

import json as json_text
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cli.client import output, watch
from cli.client.client import Client, path_to, without_none
from cli.client.connection import connected
from cli.client.request_settings import (
    Model,
    Seed,
    Settings,
    Suffix,
    Training,
    read_settings,
    with_settings,
)
from cli.commands.files.command import Limit
from cli.commands.sending import chosen_model, create_with_files, file_id, local_file
from core.errors import ConfigurationError

app = typer.Typer(help="Try values of a job's parameters, and keep the best.", no_args_is_help=True)

SWEEPS = "/fine_tuning/sweeps"
COLUMNS = ("id", "status", "model", "created_at", "job_id", "adapter_id")
DETAILS = (*COLUMNS, "parameters", "winner", "cost", "error")
CANDIDATES = ("number", "values", "status", "step", "loss", "reason")
VALUES = "--try takes PATH=VALUE,VALUE, such as adapter.r=4,8, not"

SweepId = Annotated[str, typer.Argument(metavar="ID", help="ftsweep-…")]


@app.command()
@connected
def create(
    client: Client,
    json: bool,
    training: Training,
    validation: Annotated[str, typer.Option(metavar="FILE-OR-ID", help="The file whose loss decides")],
    tried: Annotated[
        list[str],
        typer.Option(
            "--try",
            metavar="PATH=VALUE,VALUE",
            help="Values of training.learning_rate, adapter.r, adapter.lora_alpha or "
            "adapter.target_modules; repeat it to try all combinations",
        ),
    ],
    model: Model = None,
    suffix: Suffix = None,
    seed: Seed = None,
    settings: Settings = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended or is paused")] = False,
) -> None:
    """Create a sweep. A local file is uploaded first."""
    parameters, given = read_tried(tried), read_settings(settings or [])
    local_file(training)
    model = chosen_model(client, model, given)
    asked = without_none(
        model=model,
        training_file=file_id(client, training),
        validation_file=file_id(client, validation),
        suffix=suffix,
        seed=seed,
        parameters=parameters,
    )
    sweep = create_with_files(client, SWEEPS, with_settings(asked, given))
    if wait:
        output.note(f"Created {sweep['id']}")
        job = watch.wait(client, sweep["job_id"])
        _show(client.get(path_to(SWEEPS, sweep["id"])), json)
        watch.raise_for_outcome(job)
        return
    _show(sweep, json)
    output.note(f"Next: tunery jobs wait {sweep['job_id']}")


@app.command("list")
@connected
def list_sweeps(client: Client, json: bool, limit: Limit = 20) -> None:
    """List your project's sweeps."""
    sweeps = list(client.every(SWEEPS, limit))
    output.json(sweeps) if json else output.table(sweeps, COLUMNS)


@app.command()
@connected
def get(client: Client, json: bool, sweep_id: SweepId) -> None:
    """Show a sweep and its candidates, the best first."""
    _show(client.get(path_to(SWEEPS, sweep_id)), json)


@app.command()
@connected
def cancel(client: Client, json: bool, sweep_id: SweepId) -> None:
    """Cancel a sweep that has not ended."""
    _show(client.post(path_to(SWEEPS, sweep_id, "cancel")), json)


def read_tried(given: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values to try, by their path. Raises ConfigurationError."""
    found: dict[str, list[Any]] = {}
    for one in given:
        path, equals, text = one.partition("=")
        if not (path and equals and text):
            raise ConfigurationError(f"{VALUES} {one!r}")
        found[path] = [*found.get(path, []), *_values(text)]
    return found


def _values(text: str) -> list[Any]:
    """Return numbers if all are numbers, else words. A word such as q_proj+v_proj is a list of modules."""
    try:
        return list(json_text.loads(f"[{text}]"))
    except ValueError:
        return [word.split("+") if "+" in word else word for word in text.split(",")]


def _show(sweep: dict[str, Any], json: bool) -> None:
    if json:
        output.json(sweep)
        return
    output.record(sweep, DETAILS)
    output.table([_candidate(each) for each in sweep["candidates"]], CANDIDATES)


def _candidate(candidate: dict[str, Any]) -> dict[str, Any]:
    """Return the candidate with the loss of its last comparison."""
    rungs = candidate["rungs"]
    return {**candidate, "loss": rungs[-1]["valid_loss"] if rungs else None}
