"""Writes an adapter as GGUF, which llama.cpp adds to a GGUF of the base model."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor

from core.errors import JobError
from core.exports.requests import GgufAdapterExport
from worker.tasks.export.gguf_files.parts import Parts
from worker.tasks.export.lora import DTYPES, described, rounded
from worker.tasks.export.low_rank import LayerUpdate, LowRankUpdate, low_rank_update
from worker.tasks.export.source import Source

NAME = "adapter.gguf"
NOT_ADAPTED = {"gemma4": re.compile(r"\.per_layer_model_projection$|\.experts\.down_proj$")}
"""The layers whose factors llama.cpp loads, but ignores or scales in another way, by architecture"""
EXPERT = re.compile(r"\.experts\.\d+\.")


def write_gguf_adapter(source: Source, asked: GgufAdapterExport, folder: Path) -> dict[str, Any]:
    """Write one file. llama.cpp scales by alpha / rank, which is 1: the scale is in B."""
    source.require_plain_base()
    parts = Parts(source.config)
    dtype = DTYPES[asked.precision]
    update = low_rank_update(source, asked.rank).padded()
    writer = gguf.GGUFWriter(folder / NAME, parts.architecture.name)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(update.rank))
    writer.add_name(source.model)
    for layer, A, B in _stacked(update):
        if (wrong := NOT_ADAPTED.get(parts.architecture.name)) and wrong.search(layer):
            reason = f"llama.cpp would compute {layer} without the adapter, or with another scale."
            raise JobError("not_convertible", f"{reason} Export the merged model.", "format")
        for part in parts.of(f"{layer}.weight", (B.shape[-2], A.shape[-1])):
            of_inputs, of_outputs = part.of_factors(A, B)
            writer.add_tensor(f"{part.name}.lora_a", rounded(of_inputs, dtype).numpy())
            writer.add_tensor(f"{part.name}.lora_b", rounded(of_outputs, dtype).contiguous().numpy())
    write_all(writer)
    return described(update)


def _stacked(update: LowRankUpdate) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield A [R, K] and B [N, R] of each layer; of experts those of all in one, [E, R, K] and [E, N, R]."""
    of_experts: dict[str, list[LayerUpdate]] = {}
    for layer, factors in update.layers.items():
        if (together := EXPERT.sub(".experts.", layer)) == layer:
            yield layer, factors.A_RK, factors.B_NR
        else:
            of_experts.setdefault(together, []).append(factors)
    for layer, each in of_experts.items():
        yield layer, torch.stack([one.A_RK for one in each]), torch.stack([one.B_NR for one in each])


def write_all(writer: gguf.GGUFWriter) -> None:
    """Write what the writer was given, and close the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
