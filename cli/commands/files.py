"""`tunery files`: upload, list, check and convert."""

from pathlib import Path
from typing import Annotated

import typer

from cli.client import output
from cli.client.client import Client
from cli.client.connection import connected
from cli.commands import file_checks, file_conversions
from cli.commands.sending import send

app = typer.Typer(help="Upload, list, check and convert files.", no_args_is_help=True)

app.command("check")(file_checks.check_file)
app.command("convert")(file_conversions.convert_file)

COLUMNS = ("id", "filename", "purpose", "bytes", "created_at")

Limit = Annotated[int, typer.Option(min=1, help="The largest number of entries, the newest first")]


@app.command()
@connected
def upload(
    client: Client,
    json: bool,
    path: Annotated[Path, typer.Argument(help="A .jsonl file", exists=True, dir_okay=False, readable=True)],
    purpose: Annotated[str, typer.Option(help="What the file is for")] = "fine-tune",
) -> None:
    """Upload a file. Its rows are checked before the answer comes."""
    file = send(client, path, purpose)
    output.json(file) if json else output.record(file, COLUMNS)


@app.command("list")
@connected
def list_files(
    client: Client,
    json: bool,
    purpose: Annotated[str | None, typer.Option(help="Only files with this purpose")] = None,
    limit: Limit = 20,
) -> None:
    """List your project's files."""
    files = list(client.every("/files", limit, purpose=purpose))
    output.json(files) if json else output.table(files, COLUMNS)
