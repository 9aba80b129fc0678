"""Writes an adapter as GGUF, which llama.cpp adds to a GGUF of the base model."""

from pathlib import Path
from typing import Any

import gguf

from core.exports.requests import GgufAdapterExport
from worker.tasks.export.gguf_files.architecture import TensorNames
from worker.tasks.export.lora import DTYPES, described, rounded
from worker.tasks.export.low_rank import low_rank_update
from worker.tasks.export.source import Source

NAME = "adapter.gguf"


def write_gguf_adapter(source: Source, asked: GgufAdapterExport, folder: Path) -> dict[str, Any]:
    """Write one file. llama.cpp scales by alpha / rank, which is 1: the scale is in B."""
    source.require_plain_base()
    names = TensorNames(source.config)
    dtype = DTYPES[asked.precision]
    update = low_rank_update(source, asked.rank).padded()
    writer = gguf.GGUFWriter(folder / NAME, names.architecture.name)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(update.rank))
    writer.add_name(source.model)
    for layer, factors in update.layers.items():
        name = names.name(f"{layer}.weight")
        B_NR = names.ordered(layer, factors.B_NR)
        writer.add_tensor(f"{name}.lora_a", rounded(factors.A_RK, dtype).numpy())
        writer.add_tensor(f"{name}.lora_b", rounded(B_NR, dtype).contiguous().numpy())
    write_all(writer)
    return described(update)


def write_all(writer: gguf.GGUFWriter) -> None:
    """Write what the writer was given, and close the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
