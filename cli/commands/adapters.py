"""`tunery adapters`: list trained adapters, download them, and export them for other runtimes."""

import hashlib
import time
from enum import StrEnum
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

app = typer.Typer(help="List, download and export trained adapters.", no_args_is_help=True)

COLUMNS = ("id", "kind", "type", "base_model", "model", "job_id", "created_at")
POLL_SECONDS = 1.0


class Format(StrEnum):
    LORA = "lora"
    MLX = "mlx"
    GGUF_ADAPTER = "gguf_adapter"
    MERGED = "merged"
    GGUF = "gguf"


AdapterId = Annotated[str, typer.Argument(metavar="ID", help="An id from `tunery adapters list`")]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder; it is made if it does not exist", file_okay=False)
]


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
    adapter_id: AdapterId,
    folder: Folder,
) -> None:
    """Download the files of an adapter or a whole model, and check the SHA-256 of each."""
    path = f"/adapters/{quote(adapter_id, safe='')}"
    adapter = client.get(path)
    _fetch(client, path, adapter["files"], folder)
    output.json(adapter | {"folder": str(folder)}) if json else output.data(str(folder))


@app.command()
@connected
def export(
    client: Client,
    json: bool,
    adapter_id: AdapterId,
    folder: Folder,
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="lora: PEFT, vLLM, SGLang. mlx: mlx-lm. gguf_adapter: llama.cpp, beside the base. merged: "
            "a whole model in safetensors. gguf: a whole model for llama.cpp and Ollama",
        ),
    ],
    rank: Annotated[
        int | None, typer.Option(help="The closest LoRA of this rank; methods other than LoRA need it", min=1)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16 or bf16; not for gguf", metavar="TYPE")
    ] = None,
    quantization: Annotated[
        str | None, typer.Option(help="f16, q8_0 or q4_0; only for gguf", metavar="TYPE")
    ] = None,
) -> None:
    """Convert an adapter for another runtime, and download the result.

    The server converts it. If you stop this command, the export goes on; start it again to make another.
    """
    options = {"rank": rank, "precision": precision, "quantization": quantization}
    given = {name: value for name, value in options.items() if value is not None}
    path = f"/adapters/{quote(adapter_id, safe='')}/exports"
    made = client.post(path, {"format": format_.value, **given})
    path = f"{path}/{made['id']}"
    made = _wait(client, path)
    _fetch(client, path, made["files"], folder)
    output.json(made | {"folder": str(folder)}) if json else output.data(str(folder))


def _wait(client: Client, path: str) -> dict[str, Any]:
    """Return the export once it has succeeded. Say what it does meanwhile. Raises GaveUp."""
    said = None
    while (made := client.get(path))["finished_at"] is None:
        doing = made["progress"]["phase"] or made["status"]
        if doing != said:
            output.note(f"{made['id']}: {doing}")
            said = doing
        time.sleep(POLL_SECONDS)
    if made["status"] != "succeeded":
        reason = made["error"]["message"] if made["error"] else "it was cancelled"
        raise GaveUp(f"The export {made['status']}: {reason}")
    return made


def _fetch(client: Client, path: str, files: list[dict[str, Any]], folder: Path) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    folder.mkdir(parents=True, exist_ok=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn()
    console = output.stderr()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        for file in files:
            _fetch_file(client, path, file, folder, progress)


def _fetch_file(client: Client, path: str, file: dict[str, Any], folder: Path, progress: "Progress") -> None:
    """Download one file. It gets its name only after its SHA-256 was found to be right."""
    name = file["name"]
    if Path(name).name != name:
        raise GaveUp(f"The server sent the file name {name!r}, which would lie outside of {folder}")
    digest = hashlib.sha256()
    part = folder / f"{name}.part"
    task = progress.add_task(output.printable(name), total=file["bytes"])
    try:
        with part.open("wb") as sink:
            for chunk in client.download(f"{path}/files/{quote(name)}"):
                digest.update(chunk)
                sink.write(chunk)
                progress.advance(task, len(chunk))
        if digest.hexdigest() != file["sha256"]:
            raise GaveUp(f"{name} was damaged on its way (its SHA-256 differs); download it again")
        part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)
