"""`tunery adapters`: list trained adapters and download them."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from cli.client import output
from cli.client.client import Client
from cli.client.connection import connected
from cli.client.errors import GaveUp
from cli.commands.files import Limit

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(help="List and download trained adapters.", no_args_is_help=True)

COLUMNS = ("id", "kind", "type", "base_model", "model", "job_id", "created_at")


@app.command("list")
@connected
def list_adapters(client: Client, json: bool, limit: Limit = 20) -> None:
    """List your project's adapters."""
    adapters = list(client.every("/adapters", limit))
    output.json(adapters) if json else output.table(adapters, COLUMNS)


@app.command()
@connected
def download(
    client: Client,
    json: bool,
    adapter_id: Annotated[str, typer.Argument(metavar="ID", help="An id from `tunery adapters list`")],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder; it is made if it does not exist", file_okay=False)
    ],
) -> None:
    """Download the files of an adapter or a whole model, and check the SHA-256 of each."""
    adapter = client.get(f"/adapters/{quote(adapter_id, safe='')}")
    folder.mkdir(parents=True, exist_ok=True)
    _fetch(client, adapter, folder)
    output.json(adapter | {"folder": str(folder)}) if json else output.data(str(folder))


def _fetch(client: Client, adapter: dict[str, Any], folder: Path) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn()
    console = output.stderr()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        for file in adapter["files"]:
            _fetch_file(client, adapter["id"], file, folder, progress)


def _fetch_file(
    client: Client, adapter_id: str, file: dict[str, Any], folder: Path, progress: "Progress"
) -> None:
    """Download one file. It gets its name only after its SHA-256 was found to be right."""
    name = file["name"]
    if Path(name).name != name:
        raise GaveUp(f"The server sent the file name {name!r}, which would lie outside of {folder}")
    digest = hashlib.sha256()
    part = folder / f"{name}.part"
    task = progress.add_task(output.printable(name), total=file["bytes"])
    try:
        with part.open("wb") as sink:
            for chunk in client.download(f"/adapters/{adapter_id}/files/{quote(name)}"):
                digest.update(chunk)
                sink.write(chunk)
                progress.advance(task, len(chunk))
        if digest.hexdigest() != file["sha256"]:
            raise GaveUp(f"{name} was damaged on its way (its SHA-256 differs); download it again")
        part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)
