"""`tunery adapters`: list, download, compose, import and export adapters, and show where they load."""

import typer

from cli.client import output
from cli.client.client import Client, path_to
from cli.client.connection import connected
from cli.client.downloads import fetch_files
from cli.commands.adapters.arguments import AdapterId, Folder
from cli.commands.adapters.compositions import compose_adapters
from cli.commands.adapters.exports import export_adapter
from cli.commands.adapters.imports import import_adapter
from cli.commands.adapters.portability import show_portability
from cli.commands.files.command import Limit

app = typer.Typer(
    help="List, download, compose, import and export adapters, and see where they load.", no_args_is_help=True
)

COLUMNS = ("id", "kind", "type", "base_model", "model", "job_id", "created_at")


@app.command("list")
@connected
def list_adapters(client: Client, json: bool, limit: Limit = 20) -> None:
    """List your project's adapters."""
    adapters = list(client.every("/adapters", limit))
    output.json(adapters) if json else output.table(adapters, COLUMNS)


@app.command()
@connected
def download(client: Client, json: bool, adapter_id: AdapterId, folder: Folder) -> None:
    """Download the files of an adapter or a whole model, and check the SHA-256 of each."""
    path = path_to("/adapters", adapter_id)
    adapter = client.get(path)
    fetch_files(client, path, adapter["files"], folder)
    output.json(adapter | {"folder": str(folder)}) if json else output.data(str(folder))


app.command("compose")(compose_adapters)
app.command("import")(import_adapter)
app.command("export")(export_adapter)
app.command("portability")(show_portability)
