"""`tunery evaluate`: judge models on the same rows, and say which of them is better."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import output
from cli.client.client import Client, without_none
from cli.client.connection import connected
from cli.client.errors import Refused
from cli.client.request_settings import Grader, read_grader, read_settings, set_option, with_settings
from cli.client.tasks import require_success, wait_for_task
from cli.commands.evals.comparing import comparisons
from cli.commands.evals.samples import show_samples
from cli.commands.evals.tables import show_comparison, show_runs
from cli.commands.sending import file_id
from core.errors import ConfigurationError

EVALS = "/evals"
METRICS = ("loss", "token_accuracy", "exact_match", "label_f1", "field_f1")
SIMILARITIES = ("bleu", "chrf", "fuzzy_match", "gleu", "rouge_1", "rouge_2", "rouge_l")
ANY_ROW = {"type": "custom", "item_schema": {}, "include_sample_schema": True}


@connected
def evaluate(
    client: Client,
    json: bool,
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Models, adapters or aliases; the base first")
    ],
    file: Annotated[str, typer.Option(metavar="FILE-OR-ID", help="The rows, such as a validation file")],
    criteria: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help=f"Of {', '.join(METRICS + SIMILARITIES)}",
            show_default="exact_match, unless there is a grader",
        ),
    ] = None,
    grader: Grader = None,
    pass_threshold: Annotated[
        float | None, typer.Option(help="The lowest score of the grader with which an answer passes")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Answers to each row. Several are sampled at temperature 1, and say whether a job with the "
            "grader can learn from the rows",
            show_default="1",
        ),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Judge only the first rows of the file")] = None,
    name: Annotated[str | None, typer.Option(help="The eval's name. Default: the criteria")] = None,
    settings: Annotated[
        list[str] | None, set_option("data_source.sampling_params.max_completion_tokens=256")
    ] = None,
) -> None:
    """Judge models on the same rows, wait, and compare each model with the first one.

    The server judges them. If you stop this command, the runs go on: `tunery evals show` shows them later.
    """
    given = read_settings(settings or [])
    judged_by = _judged_by(criteria, grader, pass_threshold)
    source = without_none(type="file_id", id=file_id(client, file, "evals"), limit=rows)
    asked = without_none(type="completions", source=source, sampling_params=samples and {"n": samples})
    made = client.post(EVALS, without_none(data_source_config=ANY_ROW, testing_criteria=judged_by, name=name))
    path = f"{EVALS}/{made['id']}"
    output.note(f"Created {made['id']}")
    runs = _create_runs(client, path, models, with_settings({"data_source": asked}, given))
    runs = [wait_for_task(client, f"{path}/runs/{run['id']}") for run in runs]
    completed = [run for run in runs if run["status"] == "completed"]
    base = runs[0] if runs[0] in completed else None
    compared = list(comparisons(client, path, base, [run for run in completed if run is not base]))
    if json:
        output.json({"eval": made, "runs": runs, "comparisons": compared})
    else:
        show_runs(runs)
        show_samples(client, path, runs)
        for comparison in compared:
            show_comparison(comparison)
    for run in runs:
        require_success(run, f"run of {run['name']}")


def _judged_by(
    criteria: str | None, grader: Path | None, pass_threshold: float | None
) -> list[dict[str, Any]]:
    """Return the criteria that the options stand for. Raises ConfigurationError."""
    if grader is None:
        if pass_threshold is not None:
            raise ConfigurationError("--pass-threshold needs --grader")
        return read_criteria(criteria or "exact_match")
    named = read_criteria(criteria) if criteria else []
    return [*named, {**read_grader(grader), **without_none(pass_threshold=pass_threshold)}]


def read_criteria(given: str) -> list[dict[str, Any]]:
    """Return the criteria that the names stand for. Raises ConfigurationError."""
    return [_criterion(name.strip()) for name in given.split(",")]


def _criterion(name: str) -> dict[str, Any]:
    if name in METRICS:
        return {"type": name}
    if name in SIMILARITIES:
        from core.evals.criteria import OUTPUT, REFERENCE

        texts = {"input": OUTPUT, "reference": REFERENCE}
        return {"type": "text_similarity", "name": name, "evaluation_metric": name, **texts}
    on_offer = ", ".join(METRICS + SIMILARITIES)
    raise ConfigurationError(f"{name!r} is not a criterion. On offer: {on_offer}")


def _create_runs(
    client: Client, path: str, models: Sequence[str], request: dict[str, Any]
) -> list[dict[str, Any]]:
    """Create a run for each model. If the server refuses one, delete the eval, and with it the other runs."""
    try:
        return [
            client.post(
                f"{path}/runs",
                {**request, "name": model, "data_source": {**request["data_source"], "model": model}},
            )
            for model in models
        ]
    except Refused:
        client.delete(path)
        raise
