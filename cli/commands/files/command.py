"""`tunery files`: upload, list, get, delete, check, convert and preview, and the sample."""

from pathlib import Path
from typing import Annotated

import typer

from cli.client import output
from cli.client.client import Client, path_to
from cli.client.connection import connected
from cli.commands.files import checks, conversions, previews, samples
from cli.commands.sending import send
from core.errors import ConfigurationError

app = typer.Typer(
    help="Upload, list, get, delete, check, convert and preview files; write the sample.",
    no_args_is_help=True,
)

app.command("check")(checks.check_file)
app.command("convert")(conversions.convert_file)
app.command("preview")(previews.preview_rows)
app.command("sample")(samples.write_sample_files)

DETAILS = ("id", "filename", "purpose", "kind", "rows", "bytes", "created_at", "expires_at", "sha256")
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


@app.command()
@connected
def get(
    client: Client,
    json: bool,
    file_id: Annotated[str, typer.Argument(metavar="ID", help="file-…")],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="PATH", help="Write the content there", dir_okay=False)
    ] = None,
) -> None:
    """Show a file, or download its content with --to."""
    path = path_to("/files", file_id)
    file = client.get(path)
    if to is not None:
        try:
            with to.open("xb") as target:
                target.writelines(client.download(f"{path}/content"))
        except OSError as error:
            raise ConfigurationError(f"{to} cannot be written: {error.strerror}") from error
        output.note(f"Wrote {to}")
    output.json(file) if json else output.record(file, DETAILS)


@app.command()
@connected
def delete(
    client: Client, json: bool, file_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="file-…")]
) -> None:
    """Delete files. A file that a job still needs stays, with an error that names the job."""
    for file_id in file_ids:
        answer = client.delete(path_to("/files", file_id))
        output.json(answer) if json else output.note(f"Deleted {file_id}")
