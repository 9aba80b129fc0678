"""`tunery files convert`: make a dataset of a file of another format."""

from typing import Annotated
from urllib.parse import quote

import typer

from cli.client import output
from cli.client.client import Client
from cli.client.connection import connected
from cli.client.tasks import require_success, wait_for_task
from cli.commands.sending import file_id

PURPOSE = "user_data"
FIELDS = ("converted_file", "container", "format", "kind", "rows")


@connected
def convert_file(
    client: Client,
    json: bool,
    file: Annotated[
        str, typer.Argument(help="A local file, which is uploaded first, or the id of an uploaded one")
    ],
    filename: Annotated[str | None, typer.Option(help="The name of the new file", metavar="NAME")] = None,
) -> None:
    """Convert a file of another format into a dataset: CSV, JSON arrays, Alpaca, ShareGPT, gzip and others.

    The server recognises the format by the content. If you stop this command, the conversion goes on.
    """
    path = f"/files/{quote(file_id(client, file, PURPOSE), safe='')}"
    made = client.post(f"{path}/convert", {"filename": filename} if filename else {})
    made = wait_for_task(client, f"{path}/conversions/{made['id']}")
    require_success(made, "conversion")
    if json:
        output.json(made)
        return
    output.record(made | made["report"], FIELDS)
    for number, example in enumerate(made["report"]["examples"], 1):
        output.note(f"row {number}: {example}")
