"""`tunery aliases`: names for models that can be moved at once, such as `prod`."""

from typing import Annotated, Any

import typer

from cli.client import output
from cli.client.client import Client, path_to
from cli.client.connection import connected
from cli.commands.files.command import Limit
from core.errors import ConfigurationError

app = typer.Typer(
    help="Give models names such as 'prod', move the names, and move them back.", no_args_is_help=True
)

COLUMNS = ("name", "version", "weights", "updated_at")
MOVE_COLUMNS = ("version", "weights", "restored", "moved_by", "created_at")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The alias's name, such as prod")]
Version = Annotated[
    int | None,
    typer.Option(help="Move it only if it has this version; 0: only if it does not exist", min=0),
]


@app.command("list")
@connected
def list_aliases(client: Client, json: bool, limit: Limit = 100) -> None:
    """List the aliases, with the models to which they lead."""
    aliases = list(client.every("/aliases", limit))
    output.json(aliases) if json else output.table(aliases, COLUMNS)


@app.command("set")
@connected
def set_alias(
    client: Client,
    json: bool,
    name: Name,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…",
            help="A model, or several with their weights: MODEL_A=95 MODEL_B=5",
        ),
    ],
    version: Version = None,
) -> None:
    """Create an alias, or move it to one model, or to several that share its requests."""
    alias = client.post("/aliases", {"name": name, "weights": weights_in(models), "version": version})
    _show(alias, json)


@app.command()
@connected
def back(client: Client, json: bool, name: Name, version: Version = None) -> None:
    """Move an alias to where it led before. Each further call goes one move further back."""
    _show(client.post(path_to("/aliases", name, "back"), {"version": version}), json)


@app.command()
@connected
def history(client: Client, json: bool, name: Name, limit: Limit = 20) -> None:
    """List the moves of an alias, newest first, and the keys that made them."""
    moves = list(client.every(path_to("/aliases", name, "history"), limit))
    output.json(moves) if json else output.table(moves, MOVE_COLUMNS)


@app.command()
@connected
def delete(client: Client, json: bool, name: Name) -> None:
    """Delete an alias with its history. Its models stay."""
    answer = client.delete(path_to("/aliases", name))
    output.json(answer) if json else output.note(f"Deleted {name}")


def weights_in(models: list[str]) -> dict[str, int]:
    """Return the weight of each model. Raises ConfigurationError."""
    if len(models) == 1 and "=" not in models[0]:
        return {models[0]: 1}
    weights = {}
    for text in models:
        model, _, weight = text.rpartition("=")
        if not model or not weight.isascii() or not weight.isdecimal():
            raise ConfigurationError(f"{text!r} has no weight; several models look like MODEL_A=95 MODEL_B=5")
        weights[model] = int(weight)
    return weights


def _show(alias: dict[str, Any], json: bool) -> None:
    output.json(alias) if json else output.table([alias], COLUMNS)
