"""`tunery evals`: list evals, and show what their runs have found."""

from typing import Annotated
from urllib.parse import quote

import typer

from cli.client import output
from cli.client.client import Client
from cli.client.connection import connected
from cli.commands.eval_tables import show_runs
from cli.commands.evaluate import EVALS
from cli.commands.files import Limit

app = typer.Typer(help="List evals, and show what they have found.", no_args_is_help=True)

COLUMNS = ("id", "name", "criteria", "job_id", "created_at")


@app.command("list")
@connected
def list_evals(client: Client, json: bool, limit: Limit = 20) -> None:
    """List your project's evals, the newest first."""
    evals = list(client.every(EVALS, limit, order="desc"))
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
    """Show the runs of an eval: a value for each criterion, with its 95 % interval."""
    runs = list(client.every(f"{EVALS}/{quote(eval_id, safe='')}/runs"))
    output.json(runs) if json else show_runs(runs)
