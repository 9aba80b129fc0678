"""Writes a merged model as one GGUF file, and a Modelfile with which Ollama loads it."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from core.errors import JobError
from core.exports.requests import GgufExport
from worker.engine.decoders.portable import body_of
from worker.tasks.export.gguf_files.adapter import write_all
from worker.tasks.export.gguf_files.architecture import TensorNames, head_size, matrices_in
from worker.tasks.export.gguf_files.tokens import add_tokenizer
from worker.tasks.export.merged import measured_merge
from worker.tasks.export.source import Model, Source

TYPES = {"f16": Type.F16, "q8_0": Type.Q8_0, "q4_0": Type.Q4_0}
FILE_TYPES = {
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
}
QUANTISED_BLOCK = 32  # numbers of a row that share a scale
MODELFILE = "FROM ./{name}\n"
# The embedding and the head lose most in 4 bits, so they keep 8, as llama.cpp's own files keep 6.
KEPT_IN_8_BITS = ("token_embd.weight", "output.weight")
ROUTER = "ffn_gate_inp.weight"  # in fp32, as in llama.cpp's own files


def write_gguf(source: Source, asked: GgufExport, folder: Path) -> dict[str, Any]:
    """Write the file. The report compares its weights, read back into the model, with base plus adapter."""
    architecture, config = TensorNames(source.config).architecture, source.text_config
    file = folder / f"model-{asked.quantization}.gguf"
    writer = gguf.GGUFWriter(file, architecture.name)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(source.model)
    writer.add_file_type(FILE_TYPES[asked.quantization])
    if TYPES[asked.quantization] != Type.F16:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_configuration(writer, config)
    add_tokenizer(writer, source.folder, source.tokenizer, config.vocab_size)

    def write(model: Model) -> None:
        # after merging, a tied embedding and head may differ, and the model's own configuration says so
        _add_tensors(writer, TensorNames(model.config), model, TYPES[asked.quantization])

    _, report = measured_merge(source, write)
    if (factors := _rotation_factors(config)) is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    write_all(writer)
    (folder / "Modelfile").write_text(MODELFILE.format(name=file.name), "utf-8")
    return report


def add_configuration(writer: gguf.GGUFWriter, config: Any) -> None:
    """Add the sizes and constants of the model."""
    head = head_size(config)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(_rotation(config).get("rope_theta", 10_000.0)))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if getattr(config, "num_experts", None):
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)


@torch.no_grad()
def _add_tensors(writer: gguf.GGUFWriter, names: TensorNames, model: Model, kind: Type) -> None:
    """Add every parameter of the text model, and write what the file holds of it back into the model."""
    tied = model.config.tie_word_embeddings
    text = {*body_of(model).parameters(), *model.get_output_embeddings().parameters()}
    of_text = (
        part
        for name, parameter in model.named_parameters()
        if parameter in text and not (tied and name == "lm_head.weight")
        for part in matrices_in(name, parameter)
    )
    for name, matrix in of_text:
        found, layer = names.name(name), name.rpartition(".")[0]
        values = names.ordered(layer, matrix).contiguous().numpy()
        stored_as = _kind_of(found, values, kind)
        data = gguf.quants.quantize(values, stored_as)
        writer.add_tensor(found, data, raw_dtype=stored_as)
        kept = torch.from_numpy(gguf.quants.dequantize(data, stored_as).astype(np.float32))
        matrix.copy_(names.restored(layer, kept.reshape(matrix.shape)))


def _kind_of(name: str, values: np.ndarray[Any, Any], kind: Type) -> Type:
    """Return the type in which a tensor is stored: vectors and routers stay in fp32."""
    if values.ndim == 1 or name.endswith(ROUTER):
        return Type.F32
    if kind != Type.F16 and values.shape[-1] % QUANTISED_BLOCK:
        return Type.F16
    return Type.Q8_0 if kind == Type.Q4_0 and name in KEPT_IN_8_BITS else kind


def _rotation(config: Any) -> dict[str, Any]:
    """Return the parameters of the rotary embedding, where transformers keeps them now."""
    found: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    return found


def _rotation_factors(config: Any) -> np.ndarray[Any, Any] | None:
    """Return by how much each frequency is divided, as Llama 3 does; None without a change.

    Raises JobError for another change of the frequencies.
    """
    kind = _rotation(config).get("rope_type", "default")
    if kind == "default":
        return None
    if kind != "llama3":
        reason = f"Rotary embeddings of the type {kind!r} are not converted to GGUF here."
        raise JobError("not_convertible", reason, "format")
    head = head_size(config)
    exponents = torch.arange(0, head, 2, dtype=torch.float32) / head
    plain = _rotation(config)["rope_theta"] ** -exponents
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    factors: np.ndarray[Any, Any] = (plain / scaled).numpy().astype(np.float32)
    return factors
