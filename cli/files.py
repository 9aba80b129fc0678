"""`tunery files`: upload and list."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.client import ApiKey, BaseUrl, connect
from cli.home import DEFAULT_HOME, HomeOption

if TYPE_CHECKING:
    from cli.client import Client

app = typer.Typer(help="Upload and list files.", no_args_is_help=True)

COLUMNS = ("id", "filename", "purpose", "bytes", "created_at")

Limit = Annotated[int, typer.Option(min=1, help="At most so many, the newest first")]


@app.command()
def upload(
    path: Annotated[Path, typer.Argument(help="A .jsonl file", exists=True, dir_okay=False, readable=True)],
    purpose: Annotated[str, typer.Option(help="What the file is for")] = "fine-tune",
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """Upload a file; its rows are checked before the answer comes."""
    with connect(home, base_url, api_key) as client:
        file = send(client, path, purpose)
    output.json(file) if json else output.record(file, COLUMNS)


@app.command("list")
def list_files(
    purpose: Annotated[str | None, typer.Option(help="Only files for this")] = None,
    limit: Limit = 20,
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """List your project's files."""
    with connect(home, base_url, api_key) as client:
        files = list(client.every("/files", limit, purpose=purpose))
    output.json(files) if json else output.table(files, COLUMNS)


def send(client: "Client", path: Path, purpose: str = "fine-tune") -> dict[str, Any]:
    """Upload with a progress bar on stderr, which a small file never shows."""
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
