"""Writes a merged model as one GGUF file, and a Modelfile with which Ollama loads it."""

import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from torch import Tensor, nn

from core.exports.requests import GgufExport
from worker.engine.decoders.portable import body_of
from worker.tasks.export.gguf_files.adapter import write_all
from worker.tasks.export.gguf_files.configuration import add_configuration
from worker.tasks.export.gguf_files.parts import Parts
from worker.tasks.export.gguf_files.rotation import rotation_factors
from worker.tasks.export.gguf_files.tokens import add_tokenizer
from worker.tasks.export.merged import measured_merge
from worker.tasks.export.source import Model, Source

TYPES = {"f32": Type.F32, "f16": Type.F16, "q8_0": Type.Q8_0, "q4_0": Type.Q4_0}
QUANTISED = (Type.Q8_0, Type.Q4_0)
FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
}
QUANTISED_BLOCK = 32  # numbers of a row that share a scale
MODELFILE = "FROM ./{name}\n"
# The embedding and the head lose most in 4 bits, so they keep 8, as llama.cpp's own files keep 6.
KEPT_IN_8_BITS = ("token_embd.weight", "output.weight")
# In fp32, as in llama.cpp's own files
IN_FP32 = re.compile(r"\.bias$|\.(ffn_gate_inp|ffn_gate_inp_shexp|ssm_(conv1d|a|d|norm)|shortconv\.conv)\b")


def write_gguf(source: Source, asked: GgufExport, folder: Path) -> dict[str, Any]:
    """Write the file. The report compares its weights, read back into the model, with base plus adapter."""
    return write_model(source, asked.quantization, folder)


def write_model(source: Source, quantization: str, folder: Path) -> dict[str, Any]:
    """Write the file in one of TYPES. In fp32, which no export has, nothing is rounded."""
    architecture, config = Parts(source.config).architecture, source.text_config
    file = folder / f"model-{quantization}.gguf"
    writer = gguf.GGUFWriter(file, architecture.name)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(source.model)
    writer.add_file_type(FILE_TYPES[quantization])
    if TYPES[quantization] in QUANTISED:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_configuration(writer, config, architecture.name)
    add_tokenizer(writer, source.folder, source.tokenizer, config.vocab_size)

    def write(model: Model) -> None:
        # after merging, a tied embedding and head may differ, and the model's own configuration says so
        _add_tensors(writer, Parts(model.config), model, TYPES[quantization])

    _, report = measured_merge(source, write)
    if (factors := rotation_factors(config)) is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    write_all(writer)
    (folder / "Modelfile").write_text(MODELFILE.format(name=file.name), "utf-8")
    return report


@torch.no_grad()
def _add_tensors(writer: gguf.GGUFWriter, parts: Parts, model: Model, kind: Type) -> None:
    """Add every weight of the text model, and write what the file holds of it back into the model."""
    tied = model.config.tie_word_embeddings
    weights = model.state_dict(keep_vars=True)
    text = {
        id(weight)
        for module in (body_of(model), model.get_output_embeddings())
        for weight in module.state_dict(keep_vars=True).values()
    }
    for name, weight in weights.items():
        if id(weight) in text and not (tied and name == "lm_head.weight"):
            matrix = _as_matrix(model, name, weight)
            for part in parts.of(name, matrix.shape):
                values = part.of(matrix)
                kept = _add(writer, part.name, parts.stored(name, values), kind)
                if kept is not None:
                    part.put(matrix, kept.reshape(values.shape))


def _as_matrix(model: Model, name: str, weight: Tensor) -> Tensor:
    """Return a view of the weight with a row for each output, as the weights of linear layers have."""
    module = model.get_submodule(name.rpartition(".")[0])
    if isinstance(module, nn.Conv1d) and weight.dim() == 3:
        return weight.squeeze(1)
    is_transposed = getattr(module, "is_transposed", False) and weight.dim() == 3
    return weight.transpose(1, 2) if is_transposed else weight


def _add(writer: gguf.GGUFWriter, name: str, values: Tensor, kind: Type) -> Tensor | None:
    """Add a tensor, and return what the file holds of it; None if that is all."""
    numbers = values.float().contiguous().numpy()
    stored_as = _kind_of(name, numbers, kind)
    data = gguf.quants.quantize(numbers, stored_as)
    writer.add_tensor(name, data, raw_dtype=stored_as)
    if stored_as == Type.F32:
        return None
    return torch.from_numpy(gguf.quants.dequantize(data, stored_as).astype(np.float32))


def _kind_of(name: str, values: np.ndarray[Any, Any], kind: Type) -> Type:
    """Return the type in which a tensor is stored: vectors, routers and convolutions stay in fp32."""
    if values.ndim == 1 or IN_FP32.search(name):
        return Type.F32
    if kind in QUANTISED and values.shape[-1] % QUANTISED_BLOCK:
        return Type.F16
    return Type.Q8_0 if kind == Type.Q4_0 and name in KEPT_IN_8_BITS else kind
