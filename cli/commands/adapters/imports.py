"""`tunery adapters import`: bring a LoRA adapter that was trained elsewhere."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from cli.client import output
from cli.client.client import Client
from cli.client.connection import connected
from cli.commands.sending import send
from core.errors import ConfigurationError

IMPORTED = ("id", "model", "base_model", "type")
PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
IMPORT_SECONDS = 600.0


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
