"""The fast path: the frozen base model's forward pass over one token axis, with the adapters of a cohort.

The weights are transformers' own. Projections that read the same input are merged into one matrix, and the
original parameters become views of it. So the plain model stays whole: it is the slow twin, and PEFT attaches
adapters to it.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.base.adapters_on_axis import AdaptersOnAxis
from worker.engine.base.text_decoder import Adapters, Path
from worker.engine.batch.division import Costs
from worker.engine.batch.joining import with_whole_tiles
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.kernels.attention import Heads, Layout
from worker.engine.kernels.operations import Operations, operations_on
from worker.engine.kernels.projection import Share
from worker.engine.kernels.saved_in_bf16 import saved_in_bf16

# Projections that read the same input, by the names that transformers and PEFT give them
GROUPS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
SUPPORTED = ("LlamaForCausalLM", "MistralForCausalLM")
# An operation in attention takes this many times as long as one in a projection: attention multiplies small
# matrices, with a softmax between the two products. Measured.
ATTENTION_EFFORT = 1.5
# Rotations that depend on the longest row: it would change the results of the rows beside it
LENGTH_DEPENDENT = ("dynamic", "longrope")


@dataclass(frozen=True)
class MergedProjections:
    """Projections of one input, merged into one weight; `columns` are the outputs of each, by module name."""

    weight_NK: Tensor
    columns: Mapping[str, slice]


class Decoder:
    """The fast path, for Llama-like models that `why_unsupported` accepts."""

    path: Path = "fast"
    softcap: float | None = None

    def __init__(
        self, model: nn.Module, operations: Operations | None = None, save_in_bf16: bool = False
    ) -> None:
        config: Any = model.config
        self.embedding_VD: Tensor = model.get_parameter("model.embed_tokens.weight")
        self.head_VD: Tensor = model.get_parameter("lm_head.weight")
        self.final_norm_D = model.get_parameter("model.norm.weight")
        self.rotary: Any = model.get_submodule("model.rotary_emb")
        self.eps = config.rms_norm_eps
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.heads = Heads(config.num_attention_heads, config.num_key_value_heads, size)
        self._saving_context = saved_in_bf16 if save_in_bf16 else nullcontext
        self._ops = operations or operations_on(self.embedding_VD.device)
        self.layers = [Layer(model, f"model.layers.{i}", self._ops) for i in range(config.num_hidden_layers)]

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
        weights = sum(group.weight_NK.numel() for group in self.groups.values())
        per_key = 3 * self.heads.query * self.heads.size * len(self.layers) * ATTENTION_EFFORT
        return Costs(key=per_key / weights, label=self.head_VD.numel() / weights)

    def hidden(self, batch: MicroBatch, adapters: Adapters) -> Tensor:
        """Return the final hidden states of the supervised positions, [S, D].

        The last block computes its output projection and MLP for supervised positions only.
        """
        x_TD = self.embedding_VD[batch.tokens_T]
        cos, sin = self.rotary(x_TD[None], batch.positions_T[None])
        layouts = self._layouts(batch, cos[0], sin[0])
        on_axis = AdaptersOnAxis.of(batch, adapters)
        with self._saving_context():
            for layer in self.layers[:-1]:
                x_TD = layer.forward(x_TD, on_axis, layouts, self.eps, None)
            computed_S = with_whole_tiles(batch.supervised_S)
            x_SD = self.layers[-1].forward(x_TD, on_axis, layouts, self.eps, computed_S)
        return self._ops.norm(x_SD[: len(batch.supervised_S)], self.final_norm_D, self.eps)

    def _layouts(self, batch: MicroBatch, cos_TE: Tensor, sin_TE: Tensor) -> list[Layout]:
        """Return the layout of each member of the batch."""
        lengths = [len(part.tokens_T) for part in batch.parts]
        parts = zip(batch.parts, cos_TE.split(lengths), sin_TE.split(lengths), strict=True)
        return [Layout(part.segments, self.heads, cos, sin, part.lane) for part, cos, sin in parts]


class Layer:
    """One decoder layer: attention, then the MLP, with the norm before each."""

    def __init__(self, model: nn.Module, name: str, operations: Operations) -> None:
        self.name, self._ops = name, operations
        self.input_norm_D = model.get_parameter(f"{name}.input_layernorm.weight")
        self.mlp_norm_D = model.get_parameter(f"{name}.post_attention_layernorm.weight")
        self.groups = {f"{name}.{key}": _merge(model, name, modules) for key, modules in GROUPS.items()}

    def forward(
        self,
        x_TD: Tensor,
        on_axis: AdaptersOnAxis,
        layouts: Sequence[Layout],
        eps: float,
        supervised_S: Tensor | None,
    ) -> Tensor:
        """Return the layer's output [T, D]; with `supervised_S`, only the rows of these positions, [S, D]."""
        qkv_TN = self._ops.project_norm(x_TD, self.input_norm_D, eps, *self._weights("qkv", on_axis))
        attended_TN = self._attended(qkv_TN, layouts)
        if supervised_S is not None:
            on_axis = on_axis.restricted_to(supervised_S)
            attended_TN, x_TD = attended_TN[supervised_S], x_TD[supervised_S]
        x_TD = x_TD + self._ops.project(attended_TN, *self._weights("out", on_axis))
        gate_up_TI = self._ops.project_norm(x_TD, self.mlp_norm_D, eps, *self._weights("gate_up", on_axis))
        return x_TD + self._ops.project_swiglu(gate_up_TI, *self._weights("down", on_axis))

    def _attended(self, qkv_TN: Tensor, layouts: Sequence[Layout]) -> Tensor:
        """Return the attended values. Each layout has its own run of the axis, and no job sees another."""
        scale = layouts[0].heads.size ** -0.5
        if len(layouts) == 1:
            return self._ops.segment_attention(qkv_TN, layouts[0], scale)
        runs = zip(qkv_TN.split([layout.length for layout in layouts]), layouts, strict=True)
        return torch.cat([self._ops.segment_attention(run_TN, layout, scale) for run_TN, layout in runs])

    def _weights(self, key: str, on_axis: AdaptersOnAxis) -> tuple[Tensor, list[Share]]:
        """Return a group's merged weight, and the shares of the adapters that adapt it."""
        name = f"{self.name}.{key}"
        return self.groups[name].weight_NK, on_axis.shares(name)


def why_unsupported(config: Any) -> str | None:
    """Return why the fast path would not compute the same as transformers; None if it would."""
    architecture = (config.architectures or [config.model_type])[0]
    if architecture not in SUPPORTED:
        return f"its architecture is {architecture}"
    rotation = (getattr(config, "rope_parameters", None) or {}).get("rope_type")
    unsupported = {
        "attention_bias": getattr(config, "attention_bias", False),
        "mlp_bias": getattr(config, "mlp_bias", False),
        "sliding_window": getattr(config, "sliding_window", None),
        "hidden_act": config.hidden_act != "silu" and config.hidden_act,
        "rope_type": rotation in LENGTH_DEPENDENT and rotation,
    }
    return next((f"its {field} is {value}" for field, value in unsupported.items() if value), None)


def _merge(model: nn.Module, layer: str, modules: Sequence[str]) -> MergedProjections:
    """Merge projections of one input into one matrix; the model's own parameters become views of it."""
    parameters = {f"{layer}.{name}": model.get_parameter(f"{layer}.{name}.weight") for name in modules}
    # The matrix lies in memory as [K, N], because its product with the gradient is then faster on a CPU
    merged_NK = torch.cat([parameter.data for parameter in parameters.values()]).T.contiguous().T
    columns, start = {}, 0
    for name, parameter in parameters.items():
        columns[name] = slice(start, start + parameter.shape[0])
        parameter.data = merged_NK[columns[name]]
        start += parameter.shape[0]
    return MergedProjections(merged_NK, columns)
