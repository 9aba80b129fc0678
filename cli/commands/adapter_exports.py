"""`tunery adapters export`: convert an adapter for another runtime."""

from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer

from cli.client import output
from cli.client.client import Client
from cli.client.connection import connected
from cli.client.downloads import fetch_files
from cli.client.tasks import wait_for_task
from cli.commands.adapter_arguments import AdapterId, Folder


class Format(StrEnum):
    LORA = "lora"
    MLX = "mlx"
    GGUF_ADAPTER = "gguf_adapter"
    MERGED = "merged"
    GGUF = "gguf"


@connected
def export_adapter(
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
    made = wait_for_task(client, path, "export")
    fetch_files(client, path, made["files"], folder)
    output.json(made | {"folder": str(folder)}) if json else output.data(str(folder))
