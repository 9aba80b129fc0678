"""`tunery files convert`: make a dataset of a file of another format."""

from json import dumps
from typing import Annotated

import typer

from cli.client import output
from cli.client.client import Client, path_to
from cli.client.connection import connected
from cli.client.tasks import carry_out
from cli.commands.files.previews import preview_of, show
from cli.commands.sending import TO_BE_LOOKED_AT, file_id
from core.errors import ConfigurationError

FIELDS = ("converted_file", "container", "format", "kind", "rows")


@connected
def convert_file(
    client: Client,
    json: bool,
    file: Annotated[
        str, typer.Argument(help="A local file, which is uploaded first, or the id of an uploaded one")
    ],
    filename: Annotated[str | None, typer.Option(help="The name of the new file", metavar="NAME")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Show the first rows as this base model sees them, as `preview` does; not with --json",
            metavar="NAME",
        ),
    ] = None,
) -> None:
    """Convert a file of another format into a dataset: CSV, JSON arrays, Alpaca, ShareGPT, gzip and others.

    The server recognises the format by the content. If you stop this command, the conversion goes on.
    """
    if json and model is not None:
        raise ConfigurationError("--json prints the conversion alone: leave --model out, or take `preview`")
    path = path_to("/files", file_id(client, file, TO_BE_LOOKED_AT))
    asked = {"filename": filename} if filename else {}
    made = carry_out(client, f"{path}/convert", asked, f"{path}/conversions", "conversion")
    if json:
        output.json(made)
        return
    report = made["report"]
    output.record(made | report, FIELDS)
    if model is not None:
        lines = list(range(1, len(report["examples"]) + 1))
        show(preview_of(client, made["converted_file"], {"model": model, "lines": lines}))
        return
    for number, example in enumerate(report["examples"], 1):
        output.note(f"row {number}: {dumps(example, ensure_ascii=False)}")
