"""`tunery evals`: list evals, and show what their runs have found."""

from typing import Annotated

import typer

from cli.client import output
from cli.client.client import Client, path_to
from cli.client.connection import connected
from cli.commands.evals.comparing import base_and_tuned, comparisons
from cli.commands.evals.evaluate import EVALS
from cli.commands.evals.samples import show_samples
from cli.commands.evals.tables import show_comparison, show_runs
from cli.commands.files.command import Limit

app = typer.Typer(help="List evals, and show what they have found.", no_args_is_help=True)

COLUMNS = ("id", "name", "criteria", "job_id", "created_at")


@app.command("list")
@connected
def list_evals(
    client: Client,
    json: bool,
    limit: Limit = 20,
    job: Annotated[str | None, typer.Option(metavar="ID", help="Only those of this job")] = None,
    model: Annotated[str | None, typer.Option(help="Only those with a run that judges this model")] = None,
) -> None:
    """List your project's evals, the newest first."""
    evals = list(client.every(EVALS, limit, order="desc", job_id=job, model=model))
    if json:
        output.json(evals)
        return
    rows = [{**each, "criteria": [one["name"] for one in each["testing_criteria"]]} for each in evals]
    output.table(rows, COLUMNS)


@app.command()
@connected
def show(
    client: Client, json: bool, eval_id: Annotated[str, typer.Argument(metavar="ID", help="eval-…")]
) -> None:
    """Show the runs of an eval, and compare the tuned models with the base.

    A run has a value for each criterion, and a comparison the difference, each with its 95 % interval. The
    p-value is that of a paired test over the rows. JSON has the comparison within the run of the tuned model.
    """
    path = path_to(EVALS, eval_id)
    runs = list(client.every(f"{path}/runs"))
    compared = list(comparisons(client, path, *base_and_tuned(runs)))
    if json:
        of_run = {comparison["tuned"]["run_id"]: comparison for comparison in compared}
        output.json([{**run, "comparison": of_run.get(run["id"])} for run in runs])
        return
    show_runs(runs)
    show_samples(client, path, runs)
    for comparison in compared:
        show_comparison(comparison)
