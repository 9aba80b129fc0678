"""One layer of the fast path, with the features that `architecture.py` reads from transformers' modules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from core.catalog import Compute
from core.estimates.memory_plan import Recompute
from worker.engine.batch.shared_keys import LaneInLayer
from worker.engine.decoders.adapters_on_axis import AdaptersOnAxis
from worker.engine.decoders.architecture import (
    SCALAR,
    SINKS,
    AttentionKind,
    Norms,
    activation_of,
    attention_kind,
    groups_of,
)
from worker.engine.decoders.projections import MergedProjections
from worker.engine.decoders.rounded_weight import rounded
from worker.engine.decoders.routed_experts import RoutedExperts
from worker.engine.kernels.attention import Layout
from worker.engine.kernels.frozen_weight import FrozenWeight, RoundedWeight
from worker.engine.kernels.operations import Operations
from worker.engine.kernels.projection import Share
from worker.engine.kernels.recomputation import recomputed


@dataclass(frozen=True)
class Pass:
    """What the layers of one forward pass have in common.

    `layouts` are those of each kind of attention, one for each member of the batch. `own_inputs` are inputs
    [T, P] of each layer beside its hidden states, if the model has them. `lent` are keys and values, before
    rotation, that a layer of each kind leaves to those behind it.
    """

    on_axis: AdaptersOnAxis
    layouts: Mapping[AttentionKind, Sequence[Layout]]
    own_inputs: Sequence[Tensor] | None = None
    lent: dict[AttentionKind, Tensor] = field(default_factory=dict)


class Layer:
    """One decoder layer: attention, then the MLP or experts, with norms before or after each, or both."""

    def __init__(
        self, model: nn.Module, config: Any, name: str, operations: Operations, eps: float, rotary: Any
    ) -> None:
        """Read the layer of this name in the model. `config` and `rotary` are the text model's."""
        self.name, self._ops, self._eps = name, operations, eps
        self.number = int(name.rpartition(".")[2])
        modules: Any = model.get_submodule(name)
        attention = modules.self_attn
        self.kind = attention_kind(modules, config, rotary)
        self.heads = self.kind.heads
        self.norms = Norms.of(modules, self.heads)
        self.activation = activation_of(modules)
        self.scale: float = attention.scaling
        self.sinks_H: Tensor | None = getattr(attention, SINKS, None)
        self.added_times: float = getattr(modules, "residual_multiplier", 1.0)
        self.output_scale_1: Tensor | None = getattr(modules, SCALAR, None)
        self.borrows: bool = getattr(attention, "is_kv_shared_layer", False)
        self.lends: bool = getattr(attention, "store_full_length_kv", False)
        names = groups_of(modules)
        self.routed = RoutedExperts.of(model, name, config)
        self.keys_are_values = len(names["qkv"]) == 2
        self.groups = {
            f"{name}.{key}": MergedProjections.of(model, [f"{name}.{each}" for each in group])
            for key, group in names.items()
        }
        self._rounded: dict[str, RoundedWeight] = {}

    @property
    def has_mlp(self) -> bool:
        """Whether all tokens take an MLP: alone, or as a shared expert beside others."""
        return f"{self.name}.down" in self.groups

    @property
    def has_own_input(self) -> bool:
        """Whether the layer has an input beside the hidden states, which it adds last."""
        return self.norms.after_own_input_D is not None

    def forward(self, x_TD: Tensor, one: Pass, recompute: Recompute = Recompute.NONE) -> Tensor:
        """Return the layer's output, [T, D]. Each layout has its own span of the axis."""
        lanes = [LaneInLayer(layout.lane) for layout in one.layouts[self.kind]]
        own_TP = one.own_inputs[self.number] if one.own_inputs is not None else None

        def attention(x_TD: Tensor) -> Tensor:
            attended_TN = self._attended(x_TD, one, lanes)
            return self._added(x_TD, self._attention_output(attended_TN, one.on_axis))

        def mlp(x_TD: Tensor, again: bool = False) -> Tensor:
            return self._after_attention(x_TD, own_TP, one.on_axis, again)

        match recompute:
            case Recompute.LAYERS | Recompute.LAYERS_FROM_HOST:
                return recomputed(lambda x_TD, again: mlp(attention(x_TD), again), x_TD)
            case Recompute.GATE_UP:
                return recomputed(mlp, attention(x_TD))
        return mlp(attention(x_TD))

    def forward_at(
        self, positions_S: Tensor, x_TD: Tensor, one: Pass, on_positions: AdaptersOnAxis
    ) -> Tensor:
        """Return the layer's output at some positions, [S, D]. Only attention computes the others too.

        `on_positions` are the pass's adapters on these positions.
        """
        own_SP = one.own_inputs[self.number][positions_S] if one.own_inputs is not None else None
        attended_SN = self._attended(x_TD, one, [None] * len(one.layouts[self.kind]))[positions_S]
        x_SD = self._added(x_TD[positions_S], self._attention_output(attended_SN, on_positions))
        return self._after_attention(x_SD, own_SP, on_positions)

    def _attended(self, x_TD: Tensor, one: Pass, lanes: Sequence[LaneInLayer | None]) -> Tensor:
        """Return the attended values, [T, HE]. No layout's tokens see those of another."""
        layouts = one.layouts[self.kind]
        qkv_TN = self._projected("qkv", x_TD, self.norms.before_attention_D, one.on_axis)
        qkv_TN = self.with_head_norms(qkv_TN)
        if self.lends:
            one.lent[self.kind] = qkv_TN[:, self.heads.key_columns.start :]
        if self.borrows:
            qkv_TN = torch.cat([qkv_TN, one.lent[self.kind]], dim=1)
        spans = zip(qkv_TN.split([layout.length for layout in layouts]), layouts, lanes, strict=True)
        attended = [
            self._ops.segment_attention(span_TN, layout, self.scale, lane, self.sinks_H)
            for span_TN, layout, lane in spans
        ]
        return attended[0] if len(attended) == 1 else torch.cat(attended)

    def _attention_output(self, attended_TN: Tensor, on_axis: AdaptersOnAxis) -> Tensor:
        out_TD = self._ops.project(attended_TN, *self._weights("out", on_axis))
        return self._normed(out_TD, self.norms.after_attention_D)

    def _normed(self, x_TD: Tensor, weight_D: Tensor | None) -> Tensor:
        """Return x with a norm, or as it is if the layer has no such norm."""
        return x_TD if weight_D is None else self._ops.norm(x_TD, weight_D, self._eps)

    def with_head_norms(self, qkv_TN: Tensor) -> Tensor:
        """Return queries, keys and values with the norms that they have.

        A layer that `borrows` keys and values has queries alone.
        """
        norms, heads = self.norms, self.heads
        if self.keys_are_values:
            qkv_TN = torch.cat([qkv_TN, qkv_TN[:, heads.key_columns]], dim=1)
        if norms.queries_N is not None and norms.keys_N is not None:
            columns = heads.query_columns, heads.key_columns, heads.value_columns
            q_TN, k_TN, v_TN = (qkv_TN[:, each].contiguous() for each in columns)
            q_TN, k_TN = self._normed(q_TN, norms.queries_N), self._normed(k_TN, norms.keys_N)
            return torch.cat([q_TN, k_TN, v_TN], dim=1)
        if norms.heads_HE is None:
            return qkv_TN
        normed = norms.heads_HE.numel()
        normed_TN, others_TN = qkv_TN.split([normed, qkv_TN.shape[1] - normed], dim=1)
        normed_THE = self._ops.norm(normed_TN.unflatten(1, (-1, heads.size)), norms.heads_HE, self._eps)
        return torch.cat([normed_THE.flatten(1), others_TN], dim=1)

    def _projected(self, key: str, x_TD: Tensor, norm_D: Tensor | None, on_axis: AdaptersOnAxis) -> Tensor:
        """Return the products of a group with x, which has a norm before unless `norm_D` is None."""
        weights = self._weights(key, on_axis)
        if norm_D is None:
            return self._ops.project(x_TD, *weights)
        return self._ops.project_norm(x_TD, norm_D, self._eps, *weights)

    def _added(self, x_TD: Tensor, values_TD: Tensor) -> Tensor:
        return x_TD + times(values_TD, self.added_times)

    def _after_attention(
        self, x_TD: Tensor, own_TP: Tensor | None, on_axis: AdaptersOnAxis, again: bool = False
    ) -> Tensor:
        """Return the layer's output. If it is computed `again`, only what it keeps is needed."""
        x_TD = self._mlp(x_TD, on_axis, again)
        if own_TP is not None:
            gate_TP = self._ops.project(x_TD, *self._weights("own_gate", on_axis))
            values_TP = self.activation.values(gate_TP) * own_TP
            own_TD = self._ops.project(values_TP, *self._weights("own_out", on_axis))
            x_TD = x_TD + self._normed(own_TD, self.norms.after_own_input_D)
        return x_TD if self.output_scale_1 is None else x_TD * self.output_scale_1

    def _mlp(self, x_TD: Tensor, on_axis: AdaptersOnAxis, again: bool) -> Tensor:
        """Return x plus the MLP's values, which are needed `again` only by a norm or an input behind them."""
        if self.routed is not None:
            values_TD = self._of_experts(self.routed, x_TD, on_axis)
            return self._added(x_TD, self._normed(values_TD, self.norms.after_mlp_D))
        gate_up_TI = self._projected("gate_up", x_TD, self.norms.before_mlp_D, on_axis)
        is_last = self.norms.after_mlp_D is None and not self.has_own_input
        project = self._ops.project_swiglu_again if again and is_last else self._ops.project_swiglu
        mlp_TD = project(gate_up_TI, *self._weights("down", on_axis), activation=self.activation)
        return self._added(x_TD, self._normed(mlp_TD, self.norms.after_mlp_D))

    def _of_experts(self, routed: RoutedExperts, x_TD: Tensor, on_axis: AdaptersOnAxis) -> Tensor:
        """Return the values of the experts, and of a shared one if there is one, [T, D]."""
        normed_TD = self._normed(x_TD, self.norms.before_mlp_D)
        values_TD = routed.adapted(normed_TD, on_axis)
        if not self.has_mlp:
            return values_TD
        gate_up_TI = self._ops.project(normed_TD, *self._weights("gate_up", on_axis))
        shared_TD = self._ops.project_swiglu(
            gate_up_TI, *self._weights("down", on_axis), activation=self.activation
        )
        return values_TD + shared_TD

    def compute_in(self, compute: Compute) -> None:
        """Take the products with the layer's weights in a format of 8 bits from now on."""
        for name, group in self.groups.items():
            if (weight := rounded(group.weight, compute)) is not None:
                self._rounded[name] = weight

    def _weights(self, key: str, on_axis: AdaptersOnAxis) -> tuple[FrozenWeight, list[Share]]:
        """Return a group's merged weight, and the shares of the adapters that adapt it."""
        name = f"{self.name}.{key}"
        return self._rounded.get(name) or self.groups[name].weight, on_axis.shares(name)


def times(x: Tensor, factor: float) -> Tensor:
    """Return x times a factor, and x itself if the factor is 1."""
    return x if factor == 1 else x * factor
