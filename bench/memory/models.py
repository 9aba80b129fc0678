"""Configurations of models whose memory is of interest, and the engine over them without their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from bitsandbytes.functional import quantize_4bit
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen3Config

from core.estimates.configuration import DecoderPath
from core.estimates.shapes import ModelShape
from worker.engine.base.expert_quantisation import Nf4Experts
from worker.engine.base.model_shape import shape_of
from worker.engine.base.quantisation import int8_linear, int8_rows
from worker.engine.decoders.fast import Decoder
from worker.engine.decoders.head import Head
from worker.engine.decoders.portable import PortableDecoder, body_of, linear_layers
from worker.engine.decoders.text_decoder import TextDecoder
from worker.engine.kernels.experts.layer import DenseExperts
from worker.engine.kernels.experts.modules import NAME as EXPERTS
from worker.engine.kernels.experts.modules import QUANTISED, experts_in, parameter_names, weights_of
from worker.engine.kernels.projection import LowRank, ProjectionFactors
from worker.engine.kernels.states.in_transformers import follow_segments
from worker.engine.kernels.transformers_attention import NAME
from worker.engine.parameters.flat import Extent, FlatParameters

HEAD, EMBEDDING = "lm_head", "embed_tokens"


def llama(layers: int, hidden: int, inner: int, heads: int, key_heads: int, vocabulary: int) -> LlamaConfig:
    return LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        vocab_size=vocabulary,
        tie_word_embeddings=False,
        max_position_embeddings=8192,
    )


LLAMA_8B = partial(llama, 32, 4096, 14336, 32, 8, 128256)
LLAMA_13B = partial(llama, 40, 5120, 13824, 40, 40, 32000)
LLAMA_30B = partial(llama, 60, 6656, 17920, 52, 52, 32000)
LLAMA_70B = partial(llama, 80, 8192, 28672, 64, 8, 128256)


def qwen3_8b() -> Qwen3Config:
    return Qwen3Config(
        num_hidden_layers=36,
        hidden_size=4096,
        intermediate_size=12288,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151936,
        tie_word_embeddings=False,
        max_position_embeddings=8192,
    )


@dataclass(frozen=True)
class Case:
    """A base model in one precision, by its configuration."""

    name: str
    config: Callable[[], PretrainedConfig]
    dtype: torch.dtype = torch.bfloat16
    quantization: Literal["nf4"] | None = None
    path: DecoderPath = "fast"

    @property
    def shape(self) -> ModelShape:
        found = shape_of(self.config(), self.dtype, self.quantization, self.path)
        assert found is not None
        return found


CASES = [
    Case("Llama 8 B, bf16", LLAMA_8B),
    Case("Llama 8 B, nf4", LLAMA_8B, quantization="nf4"),
    Case("Qwen 3 8 B, bf16", qwen3_8b),
    Case("Qwen 3 8 B, nf4", qwen3_8b, quantization="nf4"),
    Case("Llama 13 B, nf4", LLAMA_13B, quantization="nf4"),
    Case("Llama 30 B, nf4", LLAMA_30B, quantization="nf4"),
    Case("Llama 70 B, nf4", LLAMA_70B, quantization="nf4"),
]


class Factors:
    """A LoRA on every projection, as the engine's kernels see it. PEFT cannot attach one to fake tensors."""

    name = "job"

    def __init__(self, model: nn.Module, decoder: TextDecoder, rank: int, dtype: torch.dtype) -> None:
        start, groups = 0, {}
        for name, group in decoder.groups.items():
            layers: dict[str, Any] = {each: model.get_submodule(each) for each in group.columns}
            A = Extent(start, (rank * len(layers), next(iter(layers.values())).in_features))
            projections, start = [], A.stop
            for number, (each, layer) in enumerate(layers.items()):
                ranks = slice(number * rank, (number + 1) * rank)
                B = Extent(start, (layer.out_features, rank))
                projections.append(ProjectionFactors(group.columns[each], ranks, B, 2.0))
                start = B.stop
            groups[name] = A, projections
        for name, (count, outputs, inputs) in decoder.experts.items():
            A = Extent(start, (count * rank, inputs))
            B = Extent(A.stop, (outputs, count * rank))
            groups[name] = A, [ProjectionFactors(slice(None), slice(count * rank), B, 2.0)]
            start = B.stop
        self.parameters = FlatParameters(torch.zeros(start), dtype)
        self._low_ranks = {
            name: LowRank(self.parameters, A, projections) for name, (A, projections) in groups.items()
        }

    @property
    def tensors(self) -> list[Tensor]:
        return [self.parameters.master, self.parameters.low, *self.parameters.lane_gradients]

    def low_ranks(self, _lane: int = 0) -> Mapping[str, LowRank]:
        return self._low_ranks


def build(case: Case, layers: int | None = None) -> tuple[Any, TextDecoder]:
    """Return the model, with so many layers if all are alike, and the engine's decoder over it."""
    config: Any = case.config()
    if layers is not None:
        config.num_hidden_layers = layers
    model = AutoModelForCausalLM.from_config(config, dtype=case.dtype).eval().requires_grad_(False)
    if case.quantization == "nf4":
        _quantise_experts(model)
    if case.path == "fast":
        if case.quantization == "nf4":
            _quantise(model, [name for name in linear_layers(model) if name != HEAD])
        return model, Decoder(model)
    model.set_attn_implementation(NAME)
    model.set_experts_implementation(EXPERTS)
    follow_segments(model)
    inside = {*body_of(model).modules()}
    linears = [name for name, layer in linear_layers(model).items() if layer in inside]
    return model, PortableDecoder(model, Head.of(model), linears, experts_in(model))


def _quantise(model: Any, linears: list[str]) -> None:
    """Hold the weights in fake tensors of bitsandbytes, as `worker/engine/base/quantisation.py` does."""
    for name in linears:
        layer = model.get_submodule(name)
        packed, state = quantize_4bit(layer.weight.data, quant_type="nf4", compress_statistics=True)
        layer.weight = nn.Parameter(packed, requires_grad=False)
        layer.weight.quant_state = state
        layer.register_buffer("absmax", state.absmax)  # so that the tracker sees the buffers
        layer.register_buffer("scales", state.state2.absmax)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        weight = nn.Parameter(layer.weight.data.to(torch.int8), requires_grad=False)
        weight.SCB = layer.weight.new_empty(len(layer.weight), dtype=torch.float32)  # type: ignore[attr-defined]
        layer.weight = weight
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    embedding.forward = partial(int8_rows, embedding, model.config.dtype or torch.bfloat16)
    head.forward = partial(int8_linear, head)


def _quantise_experts(model: Any) -> None:
    """Hold the weights of experts as the loader does, but for the modules' own parameters, which stay."""
    for experts in experts_in(model).values():
        stacks = {name: weights_of(experts, name) for name in parameter_names(experts)}
        held = {
            name: Nf4Experts.made_of(stack)
            for name, stack in stacks.items()
            if isinstance(stack, DenseExperts)
        }
        setattr(experts, QUANTISED, held)
