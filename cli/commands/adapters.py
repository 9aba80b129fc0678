"""`tunery adapters`: list adapters, download them, and import others."""

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from cli.client import output
from cli.client.client import Client
from cli.client.connection import connected
from cli.client.errors import GaveUp
from cli.commands.files import Limit, send
from core.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(help="List, download and import adapters.", no_args_is_help=True)

IMPORTED = ("id", "model", "base_model", "type")
PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
IMPORT_SECONDS = 600.0

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


@app.command("import")
@connected
def import_adapter(
    client: Client,
    json: bool,
    path: Annotated[
        Path,
        typer.Argument(
            help="A folder that PEFT has saved, a zip of it, or a checkpoint of loralib", exists=True
        ),
    ],
    model: Annotated[str, typer.Option(help="The base model that the adapter belongs to")],
    suffix: Annotated[str | None, typer.Option(help="A part of the model's name")] = None,
    lora_alpha: Annotated[float | None, typer.Option(help="The alpha of a loralib checkpoint")] = None,
    r: Annotated[
        int | None, typer.Option(help="The rank of a loralib checkpoint, to compare with it")
    ] = None,
    enable_lora: Annotated[
        str | None,
        typer.Option(help="The adapted parts of loralib's merged layers, such as `true,false,true`"),
    ] = None,
) -> None:
    """Import a LoRA adapter that was trained elsewhere. Then chat with its model, or train it further."""
    parts = None if enable_lora is None else _parts(enable_lora)
    body = {"base_model": model, "suffix": suffix, "lora_alpha": lora_alpha, "r": r, "enable_lora": parts}
    with _packed(path) as file:
        uploaded = send(client, file, "user_data")["id"]
    try:
        given = {name: value for name, value in body.items() if value is not None}
        adapter = client.post("/adapters", {"file": uploaded, **given}, seconds=IMPORT_SECONDS)
    finally:
        client.delete(f"/files/{uploaded}")
    output.json(adapter) if json else output.record(adapter, IMPORTED)


def _parts(text: str) -> list[bool]:
    words = [word.strip().lower() for word in text.split(",")]
    if not set(words) <= {"true", "false"}:
        raise ConfigurationError(f"--enable-lora is {text!r}, but looks like true,false,true")
    return [word == "true" for word in words]


@contextmanager
def _packed(path: Path) -> Iterator[Path]:
    """Yield the file, or a zip of the adapter's files in the folder `path`."""
    if not path.is_dir():
        yield path
        return
    files = [path / name for name in PEFT_FILES if (path / name).is_file()]
    if not files:
        raise ConfigurationError(f"{path} has none of the files {', '.join(PEFT_FILES)}")
    with TemporaryDirectory() as folder:
        packed = Path(folder) / f"{path.resolve().name or 'adapter'}.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.name)
        yield packed


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
