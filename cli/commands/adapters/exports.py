"""`tunery adapters export`: convert an adapter for another runtime."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from cli.client import output
from cli.client.client import Client, path_to, without_none
from cli.client.connection import connected
from cli.client.downloads import fetch_files
from cli.client.tasks import require_success, wait_for_task
from cli.commands.adapters.arguments import AdapterId, Folder


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
    push: Annotated[
        str | None,
        typer.Option(help="Push the files too: hub:ORG/NAME or s3://BUCKET/PREFIX", metavar="WHERE"),
    ] = None,
    secret: Annotated[
        str | None, typer.Option(help="The project's secret with the key for --push", metavar="NAME")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="hub: let everybody read the repository")] = False,
    revision: Annotated[str | None, typer.Option(help="hub: the branch", metavar="NAME")] = None,
    region: Annotated[str | None, typer.Option(help="s3: the region of the bucket")] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(help="s3: a store other than AWS", metavar="URL")
    ] = None,
) -> None:
    """Convert an adapter for another runtime, and download the result.

    The server converts it. If you stop this command, the export goes on; start it again to make another.
    """
    given = without_none(format=format_.value, rank=rank, precision=precision, quantization=quantization)
    details = {"revision": revision, "region": region, "endpoint_url": endpoint_url}
    if push is not None:
        given["destination"] = _destination(push, secret, public, details)
    elif secret or public or any(details.values()):
        raise typer.BadParameter("It is an option of a push. Name its destination.", param_hint="--push")
    path = path_to("/adapters", adapter_id, "exports")
    path = f"{path}/{client.post(path, given)['id']}"
    made = wait_for_task(client, path)
    if made["files"]:
        fetch_files(client, path, made["files"], folder)
    kept = f" The files are in {folder}." if made["files"] else ""
    require_success(made, "export", kept)
    if pushed := made["report"].get("push"):
        output.note(f"{made['id']}: pushed to {pushed['url']}")
    output.json(made | {"folder": str(folder)}) if json else output.data(str(folder))


def _destination(
    push: str, secret: str | None, public: bool, details: dict[str, str | None]
) -> dict[str, Any]:
    """Return the destination that the options name. The server checks the details."""
    if secret is None:
        raise typer.BadParameter("A push needs a secret of the project.", param_hint="--secret")
    given = without_none(secret=secret, **details)
    kind, _, where = push.partition(":")
    if kind == "hub" and where:
        return {"type": "hub", "repository": where, "private": not public, **given}
    if kind == "s3" and where.startswith("//") and not public:
        bucket, _, prefix = where[2:].partition("/")
        return {"type": "s3", "bucket": bucket, "prefix": prefix, **given}
    hint = "s3://BUCKET/PREFIX has no --public" if kind == "s3" else "hub:ORG/NAME or s3://BUCKET/PREFIX"
    raise typer.BadParameter(hint, param_hint="--push")
