"""The options of a job's request, which the commands that create and estimate a job share."""

from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.client.client import Client, without_none
from cli.client.request_settings import (
    Grader,
    Model,
    Seed,
    Settings,
    Suffix,
    Training,
    read_grader,
    read_settings,
    with_settings,
)
from cli.commands.sending import chosen_model, file_id, local_file
from core.errors import ConfigurationError
from core.objectives import NAMES

if TYPE_CHECKING:
    Method = str
else:
    Method = StrEnum("Method", {name.upper(): name for name in NAMES})


def of_a_job(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a job's request.

    The third argument of the function is the request. It follows from the options of `_request`.
    """

    @wraps(command)
    def run(client: Client, json: bool, **given: Any) -> None:
        others = {each.name: given.pop(each.name) for each in own}
        command(client, json, _request(client, **given), **others)

    first, json, _, *own = signature(command).parameters.values()
    _client, *shared = signature(_request).parameters.values()
    parameters = sorted([*shared, *own], key=lambda each: each.default is not each.empty)
    run.__signature__ = signature(command).replace(parameters=[first, json, *parameters])  # type: ignore[attr-defined]
    return run


def _request(
    client: Client,
    training: Training,
    model: Model = None,
    validation: Annotated[
        str | None,
        typer.Option(metavar="FILE-OR-ID", help="The file on which the validation loss is measured"),
    ] = None,
    validation_split: Annotated[
        float | None,
        typer.Option(min=0, help="Hold rows of the training file out: a share such as 0.1, or their number"),
    ] = None,
    suffix: Suffix = None,
    seed: Seed = None,
    method: Annotated[Method, typer.Option(help="The objective; the rows of the file must fit it")] = Method(
        "supervised"
    ),
    grader: Grader = None,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The model from which to learn, for --method distillation"),
    ] = None,
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
) -> dict[str, Any]:
    """Return the request. Local files are uploaded first."""
    given = read_settings(settings or [])
    local_file(training)
    model = chosen_model(client, model, given)
    asked = without_none(
        model=model,
        training_file=file_id(client, training),
        validation_file=file_id(client, validation) if validation else None,
        validation_split=_split(validation_split),
        suffix=suffix,
        seed=seed,
        method=_method(
            method,
            {"grader": _grader(method, grader), "teacher": _teacher(method, teacher)},
            n_epochs=epochs,
            batch_size=batch_size,
        ),
        adapter=_section({"type": "lora"}, r=rank, lora_alpha=alpha),
        training=_section({}, learning_rate=learning_rate, devices=devices),
        integrations=_integrations(wandb, mlflow, tensorboard),
        evaluate={} if evaluate else None,
    )
    return with_settings(asked, given)


def _method(method: Method, beside: dict[str, Any], **hyperparameters: Any) -> dict[str, Any] | None:
    """Return the method. `beside` are its options beside the hyperparameters."""
    chosen = without_none(**hyperparameters)
    if method == "supervised" and not chosen:
        return None
    return {"type": str(method), str(method): without_none(**beside, hyperparameters=chosen)}


def _teacher(method: Method, teacher: str | None) -> str | None:
    """Return the teacher. Raises ConfigurationError if the method has none."""
    if teacher is not None and method != "distillation":
        raise ConfigurationError("--teacher needs --method distillation")
    return teacher


def _grader(method: Method, path: Path | None) -> Any:
    """Return the grader in a file, or None without one. Raises ConfigurationError."""
    if path is None:
        return None
    if method != "reinforcement":
        raise ConfigurationError("--grader needs --method reinforcement")
    return read_grader(path)


def _integrations(wandb: str | None, mlflow: str | None, tensorboard: bool) -> list[dict[str, Any]] | None:
    asked: list[dict[str, Any]] = []
    if wandb is not None:
        asked.append({"type": "wandb", "wandb": {"project": wandb}})
    if mlflow is not None:
        asked.append({"type": "mlflow", "mlflow": {"experiment": mlflow}})
    if tensorboard:
        asked.append({"type": "tensorboard"})
    return asked or None


def _split(given: float | None) -> float | int | None:
    """Return a share as it is, and a number of rows as an integer."""
    return int(given) if given is not None and given >= 1 and given.is_integer() else given


def _section(fixed: dict[str, Any], **options: Any) -> dict[str, Any] | None:
    chosen = without_none(**options)
    return fixed | chosen if chosen else None
