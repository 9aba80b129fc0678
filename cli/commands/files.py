"""`tunery files`: upload and list."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import output
from cli.client.client import Client
from cli.client.connection import connected
from core.errors import ConfigurationError

app = typer.Typer(help="Upload and list files.", no_args_is_help=True)

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


def send(client: Client, path: Path, purpose: str = "fine-tune") -> dict[str, Any]:
    """Upload a file, with a progress bar on stderr if stderr is a terminal."""
    from rich.progress import open as open_with_progress

    console = output.stderr()
    quiet = not console.is_terminal
    with open_with_progress(
        path,
        "rb",
        description=f"Uploading {output.printable(path.name)}",
        console=console,
        disable=quiet,
        transient=True,
    ) as content:
        return client.upload(path.name, content, purpose)


def file_id(client: Client, file_or_id: str) -> str:
    """Return the id of an uploaded file. A local file is uploaded first. Raises ConfigurationError."""
    path = Path(file_or_id)
    if path.is_file():
        file = send(client, path)
        output.note(f"Uploaded {path.name} as {file['id']}")
        return str(file["id"])
    if file_or_id.startswith("file-") and path.name == file_or_id:
        return file_or_id
    raise ConfigurationError(f"{file_or_id} is neither a local file nor the id of an uploaded file (file-…)")
