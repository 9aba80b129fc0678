"""The fast path: the frozen base model's forward pass over one token axis, with the adapters of a cohort.

The weights are transformers' own. Projections that read the same input are merged into one matrix, and the
original parameters become views of it. So the plain model stays whole: it is the slow twin, and PEFT attaches
adapters to it.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.base.adapters_on_axis import AdaptersOnAxis
from worker.engine.base.architecture import AttentionKind, attention_kind, groups_of, head_norms
from worker.engine.base.text_decoder import Adapters, Path
from worker.engine.batch.division import Costs
from worker.engine.batch.micro_batch import TILE, MicroBatch
from worker.engine.kernels.attention import Heads, Layout
from worker.engine.kernels.frozen_weight import DenseWeight, FrozenWeight
from worker.engine.kernels.operations import Operations, operations_on
from worker.engine.kernels.projection import Share
from worker.engine.kernels.saved_in_bf16 import saved_in_bf16

# An operation in attention takes this many times as long as one in a projection: attention multiplies small
# matrices, with a softmax between the two products. Measured.
ATTENTION_EFFORT = 1.5


@dataclass(frozen=True)
class MergedProjections:
    """Projections of one input, merged into one weight; `columns` are the outputs of each, by module name."""

    weight: FrozenWeight
    columns: Mapping[str, slice]


class Decoder:
    """The fast path, for Llama-like models that `architecture.why_unsupported` accepts."""

    path: Path = "fast"
    softcap: float | None = None

    def __init__(
        self, model: nn.Module, operations: Operations | None = None, save_in_bf16: bool = False
    ) -> None:
        config: Any = model.config
        self.embedding_VD = model.get_parameter("model.embed_tokens.weight")
        self.head_VD: Tensor = model.get_parameter("lm_head.weight")
        self.final_norm_D = model.get_parameter("model.norm.weight")
        self.rotary: Any = model.get_submodule("model.rotary_emb")
        self.eps = config.rms_norm_eps
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.heads = Heads(config.num_attention_heads, config.num_key_value_heads, size)
        self._saving_context = saved_in_bf16 if save_in_bf16 else nullcontext
        self._ops = operations or operations_on(self.embedding_VD.device)
        self.layers = [
            Layer(model, f"model.layers.{i}", self._ops, self.heads) for i in range(config.num_hidden_layers)
        ]

    @property
    def groups(self) -> dict[str, MergedProjections]:
        """Every projection that an adapter can be attached to, by the name of its group."""
        return {name: group for layer in self.layers for name, group in layer.groups.items()}

    @property
    def costs(self) -> Costs:
        """The costs of a key and of a label, in units of a token's cost in the projections.

        They follow from the floating-point operations of the forward and the backward pass. A token takes 4
        operations for each weight of the layers. Each pair of a query and a key takes 12 HE operations in
        every layer, and each label takes 4 DV operations.
        """
        weights = sum(prod(group.weight.shape) for group in self.groups.values())
        per_key = 3 * self.heads.query * self.heads.size * len(self.layers) * ATTENTION_EFFORT
        return Costs(key=per_key / weights, label=self.head_VD.numel() / weights)

    def hidden(self, batch: MicroBatch, adapters: Adapters) -> Tensor:
        """Return the final hidden states of the supervised positions, [S, D].

        The last block computes its output projection and MLP for supervised positions only.
        """
        x_TD = self.embedding_VD[batch.tokens_T]
        layouts = self._layouts(batch, x_TD)
        on_axis = AdaptersOnAxis.of(batch, adapters)
        with self._saving_context():
            for layer in self.layers[:-1]:
                x_TD = layer.forward(x_TD, on_axis, layouts[layer.kind], self.eps, None)
            computed_S = _pad_to_whole_tiles(batch.supervised_S)
            last = self.layers[-1]
            x_SD = last.forward(x_TD, on_axis, layouts[last.kind], self.eps, computed_S)
        return self._ops.norm(x_SD[: len(batch.supervised_S)], self.final_norm_D, self.eps)

    def _layouts(self, batch: MicroBatch, x_TD: Tensor) -> dict[AttentionKind, Layout]:
        """Return the layout of each kind of attention, for values like x_TD."""
        cos, sin = self.rotary(x_TD[None], batch.positions_T[None])
        return {
            kind: Layout(batch.segments, self.heads, cos[0], sin[0], batch.lane, kind.window)
            for kind in {layer.kind for layer in self.layers}
        }


class Layer:
    """One decoder layer: attention, then the MLP, with the norm before each.

    `head_norms_HE` are the weights of the norms of queries and keys, for each query head and then for each
    key head; None if there are no such norms.
    """

    def __init__(self, model: nn.Module, name: str, operations: Operations, heads: Heads) -> None:
        self.name, self._ops = name, operations
        modules: Any = model.get_submodule(name)
        self.kind = attention_kind(modules, model.config)
        self.head_norms_HE = head_norms(modules, heads)
        self.input_norm_D = model.get_parameter(f"{name}.input_layernorm.weight")
        self.mlp_norm_D = model.get_parameter(f"{name}.post_attention_layernorm.weight")
        self.groups = {
            f"{name}.{key}": _merge(model, name, names) for key, names in groups_of(modules).items()
        }

    @property
    def is_like_llama(self) -> bool:
        """Whether the layer has nothing beside Llama's parts, but for biases."""
        return self.kind.window is None and self.head_norms_HE is None

    def forward(
        self, x_TD: Tensor, on_axis: AdaptersOnAxis, layout: Layout, eps: float, supervised_S: Tensor | None
    ) -> Tensor:
        """Return the layer's output [T, D]; with `supervised_S`, only the rows of these positions, [S, D]."""
        qkv_TN = self._ops.project_norm(x_TD, self.input_norm_D, eps, *self._weights("qkv", on_axis))
        qkv_TN = self.with_head_norms(qkv_TN, layout.heads, eps)
        attended_TN = self._ops.segment_attention(qkv_TN, layout, layout.heads.size**-0.5)
        if supervised_S is not None:
            on_axis = on_axis.restricted_to(supervised_S)
            attended_TN, x_TD = attended_TN[supervised_S], x_TD[supervised_S]
        x_TD = x_TD + self._ops.project(attended_TN, *self._weights("out", on_axis))
        gate_up_TI = self._ops.project_norm(x_TD, self.mlp_norm_D, eps, *self._weights("gate_up", on_axis))
        return x_TD + self._ops.project_swiglu(gate_up_TI, *self._weights("down", on_axis))

    def with_head_norms(self, qkv_TN: Tensor, heads: Heads, eps: float) -> Tensor:
        """Return queries and keys with their norms, and the values as they are."""
        if self.head_norms_HE is None:
            return qkv_TN
        rotated = heads.key_columns.stop
        qk_TN, v_TN = qkv_TN.split([rotated, qkv_TN.shape[1] - rotated], dim=1)
        qk_THE = self._ops.norm(qk_TN.unflatten(1, (-1, heads.size)), self.head_norms_HE, eps)
        return torch.cat([qk_THE.flatten(1), v_TN], dim=1)

    def _weights(self, key: str, on_axis: AdaptersOnAxis) -> tuple[FrozenWeight, list[Share]]:
        """Return a group's merged weight, and the shares of the adapters that adapt it."""
        name = f"{self.name}.{key}"
        return self.groups[name].weight, on_axis.shares(name)


def _merge(model: nn.Module, layer: str, modules: Sequence[str]) -> MergedProjections:
    """Merge projections of one input into one matrix; the model's own parameters become views of it."""
    parameters = {f"{layer}.{name}": model.get_parameter(f"{layer}.{name}.weight") for name in modules}
    biases = [model.get_submodule(name).bias for name in parameters]
    # The matrix lies in memory as [K, N], because its product with the gradient is then faster on a CPU
    merged_NK = torch.cat([parameter.data for parameter in parameters.values()]).T.contiguous().T
    columns, start = {}, 0
    for name, parameter in parameters.items():
        columns[name] = slice(start, start + parameter.shape[0])
        parameter.data = merged_NK[columns[name]]
        start += parameter.shape[0]
    return MergedProjections(DenseWeight(merged_NK, _merged_bias(biases, columns.values())), columns)


def _merged_bias(biases: Sequence[Any], columns: Iterable[slice]) -> Tensor | None:
    """Return the biases side by side, 0 for a projection without one; None if no projection has one."""
    some = next((bias for bias in biases if bias is not None), None)
    if some is None:
        return None
    widths = [each.stop - each.start for each in columns]
    parts = [some.new_zeros(n) if bias is None else bias for bias, n in zip(biases, widths, strict=True)]
    return torch.cat(parts)


def _pad_to_whole_tiles(positions_S: Tensor) -> Tensor:
    """Pad the positions to a multiple of TILE by repeating the last one."""
    return torch.cat([positions_S, positions_S[-1:].expand(-len(positions_S) % TILE)])
