"""The parts of a parameter of transformers that are tensors for llama.cpp: their names, and their order."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import gguf
import torch
from torch import Tensor

from core.errors import JobError
from worker.tasks.export.gguf_files.architecture import architecture_of

ARCHITECTURES = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
Order = Callable[[Any, Tensor], Tensor]
"""Picks and sorts the indices of outputs or inputs, given the text model's configuration."""
Values = Callable[[Any, Tensor], Tensor]
"""Returns a parameter's values as llama.cpp holds them, given the text model's configuration."""


class Part(NamedTuple):
    """A tensor of llama.cpp, by which outputs and inputs of a parameter it takes, in its order.

    Indices of None stand for all, in the same order.
    """

    name: str
    outputs: Tensor | None = None
    inputs: Tensor | None = None

    def of(self, matrix: Tensor) -> Tensor:
        """Return the part of a matrix [..., N, K], or of a vector [..., N] of outputs."""
        if self.outputs is not None:
            matrix = matrix.index_select(_axis(self.name, matrix.dim()), self.outputs)
        return matrix if self.inputs is None else matrix.index_select(-1, self.inputs)

    def put(self, matrix: Tensor, values: Tensor) -> None:
        """Write the part into the matrix, in place."""
        if self.inputs is not None:
            values = values.index_select(-1, self.inputs.argsort())
        if self.outputs is None:
            matrix.copy_(values)
        else:
            matrix.index_copy_(_axis(self.name, matrix.dim()), self.outputs, values)

    def of_factors(self, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factors [..., R, K] and [..., N, R] of an update for this part."""
        return (
            A if self.inputs is None else A.index_select(-1, self.inputs),
            B if self.outputs is None else B.index_select(-2, self.outputs),
        )


def _axis(name: str, dimensions: int) -> int:
    """Return the axis of a parameter that has an entry for each output."""
    return -1 if dimensions == 1 or name.endswith("bias") else -2


class Rule(NamedTuple):
    """What becomes of parameters whose names match: `splits` has the outputs of each part, by its name."""

    pattern: str
    splits: dict[str, Order]
    inputs: Order | None = None


def _pairs(heads: str) -> Order:
    """Return the order in which neighbours are rotated against each other, instead of halves."""
    return lambda config, index: index.unflatten(0, (getattr(config, heads), 2, -1)).transpose(1, 2).flatten()


def _all(_: Any, index: Tensor) -> Tensor:
    return index


def _half(number: int) -> Order:
    return lambda _, index: index.chunk(2)[number]


def _every_second(first: int) -> Order:
    return lambda _, index: index[first::2]


def _tiled(config: Any, index: Tensor) -> Tensor:
    """Sort heads of values by their number within the head of keys that they share, and then by this one."""
    keys = config.linear_num_key_heads
    values = config.linear_num_value_heads // keys
    return index.unflatten(0, (keys, values, -1)).transpose(0, 1).flatten()


def _tiled_behind(config: Any, index: Tensor) -> Tensor:
    """Do so with the values that follow queries and keys."""
    first = 2 * config.linear_num_key_heads * config.linear_key_head_dim
    return torch.cat([index[:first], _tiled(config, index[first:])])


ROTATED = (
    Rule(r"\.q_proj\.", {".q_proj.": _pairs("num_attention_heads")}),
    Rule(r"\.k_proj\.", {".k_proj.": _pairs("num_key_value_heads")}),
)
DELTA_RULE = (
    Rule(r"\.in_proj_qkv\.", {".in_proj_qkv.": _tiled_behind}),
    Rule(r"linear_attn\.conv1d\.", {"linear_attn.conv1d.": _tiled_behind}),
    Rule(r"\.in_proj_([zab])\.", {r".in_proj_\1.": _tiled}),
    Rule(r"linear_attn\.(A_log|dt_bias)$", {r"linear_attn.\1": _tiled}),
    Rule(r"linear_attn\.out_proj\.", {"linear_attn.out_proj.": _all}, inputs=_tiled),
)
ROUTED_AND_SHARED, DENSE = "mlp.shared_expert", "mlp"
DELTA_TYPES = ("qwen3_5_text", "qwen3_5_moe_text")


def _rules(config: Any, *, interleaves: bool) -> Iterator[Rule]:
    """Yield the rules for a text model."""
    if interleaves:
        yield from ROTATED
    if config.model_type in DELTA_TYPES:
        yield from DELTA_RULE
    if config.model_type == "granitemoehybrid":
        place = ROUTED_AND_SHARED if config.num_local_experts else DENSE
        split = {f"{place}.gate_proj.": _half(0), f"{place}.up_proj.": _half(1)}
        yield Rule(r"shared_mlp\.input_linear\.", split)
        yield Rule(r"shared_mlp\.output_linear\.", {f"{place}.down_proj.": _all})
    gate, up = (
        (_every_second(0), _every_second(1)) if config.model_type == "gpt_oss" else (_half(0), _half(1))
    )
    yield Rule(r"\.experts\.gate_up_proj", {".experts.gate_proj": gate, ".experts.up_proj": up})


# Names that are not in the map of the package gguf: of transformers 5, and of parameters without a suffix
LAYER = r"^model\.layers\.(\d+)\b.*"
RENAMED = (
    (r"\.experts\.w1\.", ".experts.gate_proj."),
    (r"\.experts\.w2\.", ".experts.down_proj."),
    (r"\.experts\.w3\.", ".experts.up_proj."),
    (LAYER + r"\.experts\.(gate|up|down)_proj(?:\.weight)?$", r"blk.\1.ffn_\2_exps.weight"),
    (LAYER + r"\.experts\.(gate|up|down)_proj_bias$", r"blk.\1.ffn_\2_exps.bias"),
    (LAYER + r"\.router\.scale$", r"blk.\1.ffn_gate_inp.scale"),
    (LAYER + r"\.router\.per_expert_scale$", r"blk.\1.ffn_down_exps.scale"),
    (r"^model\.(?=embeddings\.|norm_f\.|layers\.\d+\.mixer\.)", "backbone."),
    (r"block_sparse_moe\.router\.", "block_sparse_moe.router.layer."),
    (r"\.dt_bias$", ".dt_proj.bias"),
    (r"correction_bias$", "correction.bias"),
    (r"\.(sinks|layer_scalar)$", r".\1.weight"),
    (r"\.expert_bias$", ".expert_bias.bias"),
)


def _groups(config: Any) -> int:
    groups: int = config.n_groups if config.model_type == "nemotron_h" else config.mamba_n_groups
    return groups


NORMS_ABOUT_ONE = ("gemma", "gemma2", "gemma3_text", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text")
"""The types whose norms multiply by one more than their weights"""
STORED: tuple[tuple[str, Values], ...] = (
    (r"\.(mamba|mixer)\.A_log$", lambda _, values: -values.exp().unsqueeze(-1)),
    (r"\.(mamba|mixer)\.D$", lambda _, values: values.unsqueeze(-1)),
    (
        r"\.(mamba|mixer)\.norm\.weight$",
        lambda config, values: values.unflatten(0, (_groups(config), -1)),
    ),
    (r"\.linear_attn\.A_log$", lambda _, values: -values.exp()),
    (r"\.shared_expert_gate\.weight$", lambda _, values: values.squeeze(0)),
    (
        r"(?<!linear_attn\.)norm\.weight$",
        lambda config, values: values + (config.model_type in NORMS_ABOUT_ONE),
    ),
)


class Parts:
    """The parts of a model's parameters, by their names."""

    def __init__(self, config: Any) -> None:
        """Raises JobError for an architecture that is not converted.

        `config` is that of the whole model. If it also processes images, the text model is a part of it.
        """
        self._tied = config.tie_word_embeddings
        self._config = text = config.get_text_config()
        self.architecture = architecture_of(text)
        self._names = gguf.get_tensor_name_map(ARCHITECTURES[self.architecture.name], text.num_hidden_layers)
        self._rules = list(_rules(text, interleaves=self.architecture.interleaves))

    def of(self, name: str, shape: Sequence[int]) -> Iterator[Part]:
        """Yield the parts of a parameter of a shape, [..., N, K] or of vectors [..., N].

        Raises JobError if llama.cpp has no tensor of its name.
        """
        name = name.replace("language_model.", "", 1)
        rule = next((rule for rule in self._rules if re.search(rule.pattern, name)), None)
        if rule is None:
            yield Part(self._name(name))
            return
        outputs = torch.arange(shape[_axis(name, len(shape))])
        inputs = None if rule.inputs is None else rule.inputs(self._config, torch.arange(shape[-1]))
        for part, order in rule.splits.items():
            yield Part(self._name(re.sub(rule.pattern, part, name)), order(self._config, outputs), inputs)

    def stored(self, name: str, values: Tensor) -> Tensor:
        """Return a parameter's values as llama.cpp holds them."""
        found = next((stored for pattern, stored in STORED if re.search(pattern, name)), None)
        return values if found is None else found(self._config, values)

    def _name(self, name: str) -> str:
        """Return llama.cpp's name for a parameter of transformers. Raises JobError if it has none."""
        if name.startswith("lm_head.") and self._tied:
            raise JobError(
                "not_convertible", "The model's head is its embedding, so llama.cpp has none.", "format"
            )
        own = name
        for pattern, replacement in RENAMED:
            own = re.sub(pattern, replacement, own)
        if own.startswith("blk."):
            return own
        found: str | None = self._names.get_name(own, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise JobError("not_convertible", f"llama.cpp has no tensor for the model's {name}.", "format")
        return found
