"""The fast path: the frozen base model's forward pass over one token axis, with the adapters of a cohort.

The weights are transformers' own. Projections that read the same input are merged into one matrix, and the
original parameters become views of it. So the plain model stays whole: it is the slow twin, and PEFT attaches
adapters to it.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from core.catalog import Compute
from core.estimates.memory_plan import Recompute
from worker.engine.batch.division import Costs
from worker.engine.batch.joining import with_whole_tiles
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.batch.shared_keys import LaneInLayer
from worker.engine.decoders.adapters_on_axis import AdaptersOnAxis
from worker.engine.decoders.architecture import (
    ACTIVATIONS,
    GEMMA,
    AttentionKind,
    Norms,
    activation_name,
    architecture_of,
    attention_kind,
    attention_scale,
    groups_of,
    norm_weight,
)
from worker.engine.decoders.head import Head
from worker.engine.decoders.projections import MergedProjections
from worker.engine.decoders.rounded_weight import rounded
from worker.engine.decoders.text_decoder import Adapters, Path
from worker.engine.kernels.attention import Heads, Layout
from worker.engine.kernels.frozen_weight import FrozenWeight, RoundedWeight
from worker.engine.kernels.operations import Operations, operations_on
from worker.engine.kernels.projection import Share
from worker.engine.kernels.recomputation import keeping_inputs, recomputed
from worker.engine.kernels.saved_in_bf16 import saved_in_bf16

# An operation in attention takes this many times as long as one in a projection: attention multiplies small
# matrices, with a softmax between the two products. Measured.
ATTENTION_EFFORT = 1.5


class Decoder:
    """The fast path, for Llama-like models that `architecture.why_unsupported` accepts."""

    path: Path = "fast"

    def __init__(
        self, model: nn.Module, operations: Operations | None = None, save_in_bf16: bool = False
    ) -> None:
        config: Any = model.config
        self.embedding: Any = model.get_submodule("model.embed_tokens")
        self._head = Head.of(model)
        self.softcap: float | None = self._head.softcap if architecture_of(config) == GEMMA else None
        self.dtype: torch.dtype = model.get_parameter("model.norm.weight").dtype
        self.final_norm_D = norm_weight(model.get_submodule("model.norm"))
        self.rotary: Any = model.get_submodule("model.rotary_emb")
        self.eps: float = config.rms_norm_eps
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.heads = Heads(config.num_attention_heads, config.num_key_value_heads, size)
        self.experts: Mapping[str, tuple[int, int, int]] = {}  # this path computes no model that has experts
        self._saving_context = saved_in_bf16 if save_in_bf16 else nullcontext
        self._ops = operations or operations_on(self.device)
        names = (f"model.layers.{i}" for i in range(config.num_hidden_layers))
        self.layers = [Layer(model, name, self._ops, self.eps, self.heads) for name in names]

    @property
    def device(self) -> torch.device:
        return self.final_norm_D.device

    @property
    def head_VD(self) -> Tensor:  # noqa: N802 - axes
        return self._head.weight_VD

    @property
    def groups(self) -> dict[str, MergedProjections]:
        """Every projection that an adapter can be attached to, by the name of its group."""
        return {name: group for layer in self.layers for name, group in layer.groups.items()}

    def compute_in(self, compute: Compute) -> None:
        """Take all products with the layers' weights in a format of 8 bits from now on.

        Weights that are held in int8 already are multiplied as they are. Others stay beside their 8 bits.
        """
        for layer in self.layers:
            layer.compute_in(compute)

    @property
    def costs(self) -> Costs:
        """The costs of a key and of a label, in units of a token's cost in the projections.

        They follow from the floating-point operations of the forward and the backward pass. A token takes 4
        operations for each weight of the layers. Each pair of a query and a key takes 12 HE operations in
        every layer, and each label takes 4 DV operations.
        """
        weights = sum(prod(group.weight.shape) for group in self.groups.values())
        per_key = 3 * self.heads.query * self.heads.size * len(self.layers) * ATTENTION_EFFORT
        return Costs(key=per_key / weights, label=self._head.layer.weight.numel() / weights)

    def hidden(self, batch: MicroBatch, adapters: Adapters, recompute: Recompute = Recompute.NONE) -> Tensor:
        """Return the final hidden states of the supervised positions, [S, D].

        The last block computes its output projection and MLP for supervised positions only.
        """
        x_TD = self.embedding(batch.tokens_T)
        layouts = self._layouts(batch, x_TD)
        on_axis = AdaptersOnAxis.of(batch, adapters, self._ops.drop)
        with self._saving_context():
            with keeping_inputs(recompute):
                for layer in self.layers[:-1]:
                    x_TD = layer.forward(x_TD, on_axis, layouts[layer.kind], recompute)
            computed_S = with_whole_tiles(batch.supervised_S)
            on_computed = on_axis.restricted_to(computed_S, with_whole_tiles(batch.supervised_on_host_S))
            last = self.layers[-1]
            x_SD = last.forward_at(computed_S, x_TD, on_axis, on_computed, layouts[last.kind])
        return self._ops.norm(x_SD[: len(batch.supervised_S)], self.final_norm_D, self.eps)

    def _layouts(self, batch: MicroBatch, x_TD: Tensor) -> dict[AttentionKind, list[Layout]]:
        """Return the layouts of each kind of attention, one for each member of the batch."""
        lengths = [len(member.tokens_T) for member in batch.members_or_itself]
        layouts = {}
        for kind in self.kinds:
            cos_TE, sin_TE = self.rotation(kind, x_TD, batch.positions_T)
            members = zip(batch.members_or_itself, cos_TE.split(lengths), sin_TE.split(lengths), strict=True)
            layouts[kind] = [
                Layout(member.segments, self.heads, cos, sin, member.lane, kind.window)
                for member, cos, sin in members
            ]
        return layouts

    @property
    def kinds(self) -> set[AttentionKind]:
        """The kinds of attention that the layers have."""
        return {layer.kind for layer in self.layers}

    def rotation(self, kind: AttentionKind, like: Tensor, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cosines and sines of the positions, [T, E], in the type of `like`."""
        named = () if kind.rotation is None else (kind.rotation,)
        cos, sin = self.rotary(like, positions_T[None], *named)
        return cos[0], sin[0]


class Layer:
    """One decoder layer: attention, then the MLP, with the norm before each, and perhaps one after each."""

    def __init__(self, model: nn.Module, name: str, operations: Operations, eps: float, heads: Heads) -> None:
        self.name, self._ops, self._eps = name, operations, eps
        modules: Any = model.get_submodule(name)
        self.kind = attention_kind(modules, model.config)
        self.norms = Norms.of(modules, heads)
        self.activation = ACTIVATIONS[activation_name(model.config)]
        self.scale = attention_scale(model.config, heads)
        self.groups = {
            f"{name}.{key}": MergedProjections.of(model, [f"{name}.{each}" for each in group])
            for key, group in groups_of(modules).items()
        }
        self._rounded: dict[str, RoundedWeight] = {}

    def forward(
        self,
        x_TD: Tensor,
        on_axis: AdaptersOnAxis,
        layouts: Sequence[Layout],
        recompute: Recompute = Recompute.NONE,
    ) -> Tensor:
        """Return the layer's output, [T, D]. Each layout has its own span of the axis."""
        lanes = [LaneInLayer(layout.lane) for layout in layouts]

        def attention(x_TD: Tensor) -> Tensor:
            attended_TN = self._attended(x_TD, on_axis, layouts, lanes)
            return x_TD + self._attention_output(attended_TN, on_axis)

        def mlp(x_TD: Tensor, again: bool = False) -> Tensor:
            return self._mlp(x_TD, on_axis, again)

        match recompute:
            case Recompute.LAYERS | Recompute.LAYERS_FROM_HOST:
                return recomputed(lambda x_TD, again: mlp(attention(x_TD), again), x_TD)
            case Recompute.GATE_UP:
                return recomputed(mlp, attention(x_TD))
        return mlp(attention(x_TD))

    def forward_at(
        self,
        positions_S: Tensor,
        x_TD: Tensor,
        on_axis: AdaptersOnAxis,
        on_positions: AdaptersOnAxis,
        layouts: Sequence[Layout],
    ) -> Tensor:
        """Return the layer's output at some positions, [S, D]. Only attention computes the others too.

        `on_positions` are the adapters of `on_axis` on these positions.
        """
        attended_SN = self._attended(x_TD, on_axis, layouts, [None] * len(layouts))[positions_S]
        x_SD = x_TD[positions_S] + self._attention_output(attended_SN, on_positions)
        return self._mlp(x_SD, on_positions)

    def _attended(
        self,
        x_TD: Tensor,
        on_axis: AdaptersOnAxis,
        layouts: Sequence[Layout],
        lanes: Sequence[LaneInLayer | None],
    ) -> Tensor:
        """Return the attended values, [T, HE]. No layout's tokens see those of another."""
        qkv_TN = self._ops.project_norm(
            x_TD, self.norms.before_attention_D, self._eps, *self._weights("qkv", on_axis)
        )
        qkv_TN = self.with_head_norms(qkv_TN, layouts[0].heads)
        spans = zip(qkv_TN.split([layout.length for layout in layouts]), layouts, lanes, strict=True)
        attended = [
            self._ops.segment_attention(span_TN, layout, self.scale, lane) for span_TN, layout, lane in spans
        ]
        return attended[0] if len(attended) == 1 else torch.cat(attended)

    def _attention_output(self, attended_TN: Tensor, on_axis: AdaptersOnAxis) -> Tensor:
        out_TD = self._ops.project(attended_TN, *self._weights("out", on_axis))
        return self._normed(out_TD, self.norms.after_attention_D)

    def _normed(self, x_TD: Tensor, weight_D: Tensor | None) -> Tensor:
        """Return x with a norm, or as it is if the layer has no such norm."""
        return x_TD if weight_D is None else self._ops.norm(x_TD, weight_D, self._eps)

    def with_head_norms(self, qkv_TN: Tensor, heads: Heads) -> Tensor:
        """Return queries and keys with their norms, and the values as they are."""
        if self.norms.heads_HE is None:
            return qkv_TN
        rotated = heads.key_columns.stop
        qk_TN, v_TN = qkv_TN.split([rotated, qkv_TN.shape[1] - rotated], dim=1)
        qk_THE = self._ops.norm(qk_TN.unflatten(1, (-1, heads.size)), self.norms.heads_HE, self._eps)
        return torch.cat([qk_THE.flatten(1), v_TN], dim=1)

    def _mlp(self, x_TD: Tensor, on_axis: AdaptersOnAxis, again: bool = False) -> Tensor:
        """Return x plus the MLP's values. If it is computed `again`, only what it keeps is needed.

        A norm after the MLP keeps the values, so they are needed then.
        """
        gate_up = self._weights("gate_up", on_axis)
        gate_up_TI = self._ops.project_norm(x_TD, self.norms.before_mlp_D, self._eps, *gate_up)
        without_values = again and self.norms.after_mlp_D is None
        project = self._ops.project_swiglu_again if without_values else self._ops.project_swiglu
        mlp_TD = project(gate_up_TI, *self._weights("down", on_axis), activation=self.activation)
        return x_TD + self._normed(mlp_TD, self.norms.after_mlp_D)

    def compute_in(self, compute: Compute) -> None:
        """Take the products with the layer's weights in a format of 8 bits from now on."""
        for name, group in self.groups.items():
            if (weight := rounded(group.weight, compute)) is not None:
                self._rounded[name] = weight

    def _weights(self, key: str, on_axis: AdaptersOnAxis) -> tuple[FrozenWeight, list[Share]]:
        """Return a group's merged weight, and the shares of the adapters that adapt it."""
        name = f"{self.name}.{key}"
        return self._rounded.get(name) or self.groups[name].weight, on_axis.shares(name)
