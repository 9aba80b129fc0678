"""The fast path: the frozen base model's forward pass over one token axis, with the adapters of a cohort.

The weights are transformers' own. Projections that read the same input are merged into one matrix, and the
original parameters become views of it. So the plain model stays whole: it is the slow twin, and PEFT attaches
adapters to it.
"""

from collections.abc import Sequence
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
    UNROTATED,
    AttentionKind,
    Norms,
    activation_of,
    attention_kind,
    eps_of,
    groups_of,
    heads_of,
    norm_weight,
    norms_of,
    pairs_of,
    query_scale,
)
from worker.engine.decoders.head import Head
from worker.engine.decoders.portable import body_of
from worker.engine.decoders.projections import MergedProjections
from worker.engine.decoders.rounded_weight import rounded
from worker.engine.decoders.text_decoder import Adapters, Path
from worker.engine.kernels.attention import Layout
from worker.engine.kernels.frozen_weight import FrozenWeight, RoundedWeight
from worker.engine.kernels.operations import Operations, operations_on
from worker.engine.kernels.projection import Share
from worker.engine.kernels.recomputation import keeping_inputs, recomputed
from worker.engine.kernels.rotation import Pairs
from worker.engine.kernels.saved_in_bf16 import saved_in_bf16

# An operation in attention takes this many times as long as one in a projection: attention multiplies small
# matrices, with a softmax between the two products. Measured.
ATTENTION_EFFORT = 1.5


class Decoder:
    """The fast path, for models whose features are those of the table in `architecture.py`.

    Raises `UnknownFeature` for a feature that is not there. `base/miniature.py` finds those that were
    overlooked.
    """

    path: Path = "fast"

    def __init__(
        self, model: nn.Module, operations: Operations | None = None, save_in_bf16: bool = False
    ) -> None:
        config: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
        body: Any = body_of(model)
        self._config = config
        self.embedding: Any = body.embed_tokens
        self.embedding_multiplier: float = getattr(body, "embedding_multiplier", 1.0)
        self.head = Head.of(model)
        self.softcap: float | None = self.head.softcap
        self.dtype: torch.dtype = body.norm.weight.dtype
        self.final_norm_D = norm_weight(body.norm)
        self.rotary: Any = getattr(body, "rotary_emb", None)
        layers: list[nn.Module] = list(body.layers)
        norms = [norm for layer in layers for norm in norms_of(layer).values()]
        self.eps = eps_of([body.norm, *norms])
        self.heads = heads_of(layers[0], config)
        self._saving_context = saved_in_bf16 if save_in_bf16 else nullcontext
        self._ops = operations or operations_on(self.device)
        prefix = next(name for name, module in model.named_modules() if module is body)
        names = [f"{prefix}.layers.{number}" for number in range(len(layers))]
        self.layers = [Layer(model, config, name, self._ops, self.eps, self.rotary) for name in names]
        self.pairs = {kind: self._pairs_of(kind, layers[0]) for kind in self.kinds}

    @property
    def device(self) -> torch.device:
        return self.final_norm_D.device

    @property
    def head_VD(self) -> Tensor:  # noqa: N802 - axes
        return self.head.weight_VD

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
        return Costs(key=per_key / weights, label=self.head.layer.weight.numel() / weights)

    def hidden(self, batch: MicroBatch, adapters: Adapters, recompute: Recompute = Recompute.NONE) -> Tensor:
        """Return the final hidden states of the supervised positions, [S, D].

        The last block computes its output projection and MLP for supervised positions only.
        """
        x_TD = self.embedded(batch.tokens_T)
        layouts = self.layouts(batch, x_TD)
        on_axis = AdaptersOnAxis.of(batch, adapters, self._ops.drop)
        with self._saving_context():
            with keeping_inputs(recompute):
                for layer in self.layers[:-1]:
                    x_TD = layer.forward(x_TD, on_axis, layouts[layer.kind], recompute)
            computed_S = with_whole_tiles(batch.supervised_S)
            on_computed = on_axis.restricted_to(computed_S, with_whole_tiles(batch.supervised_on_host_S))
            last = self.layers[-1]
            x_SD = last.forward_at(computed_S, x_TD, on_axis, on_computed, layouts[last.kind])
        return self.final(x_SD[: len(batch.supervised_S)])

    def embedded(self, tokens_T: Tensor) -> Tensor:
        """Return the input of the first layer, [T, D]."""
        return times(self.embedding(tokens_T), self.embedding_multiplier)

    def final(self, x_SD: Tensor) -> Tensor:
        """Return what the head multiplies, of the last layer's output."""
        return self.head.scaled(self._ops.norm(x_SD, self.final_norm_D, self.eps))

    def layouts(self, batch: MicroBatch, x_TD: Tensor) -> dict[AttentionKind, list[Layout]]:
        """Return the layouts of each kind of attention, one for each member of the batch."""
        lengths = [len(member.tokens_T) for member in batch.members_or_itself]
        scale_T1 = self.query_scale(batch.positions_T, x_TD)
        scales = [None] * len(lengths) if scale_T1 is None else scale_T1.split(lengths)
        layouts = {}
        for kind in self.kinds:
            rotation = (x.split(lengths) for x in self.rotation(kind, x_TD, batch.positions_T))
            members = zip(batch.members_or_itself, *rotation, scales, strict=True)
            how = kind.window, self.pairs[kind], kind.softcap
            layouts[kind] = [
                Layout(member.segments, self.heads, cos, sin, member.lane, *how, scale)
                for member, cos, sin, scale in members
            ]
        return layouts

    @property
    def kinds(self) -> set[AttentionKind]:
        """The kinds of attention that the layers have."""
        return {layer.kind for layer in self.layers}

    def rotation(self, kind: AttentionKind, like: Tensor, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cosines and sines of the positions, [T, E], in the type of `like`."""
        if kind.rotation == UNROTATED:
            ones_TE = like.new_ones(len(positions_T), self.heads.size)
            return ones_TE, torch.zeros_like(ones_TE)
        return self.pairs[kind].spread(*self._rotation(kind, like, positions_T), self.heads.size)

    def query_scale(self, positions_T: Tensor, like: Tensor) -> Tensor | None:
        """Return the factors of the queries, [T, 1], in the type of `like`; None if they have none."""
        scale_T1 = query_scale(self._config, positions_T)
        return None if scale_T1 is None else scale_T1.to(like.dtype)

    def _pairs_of(self, kind: AttentionKind, layer: nn.Module) -> Pairs:
        if kind.rotation == UNROTATED:
            return Pairs(self.heads.size)
        like = self.final_norm_D.float()
        cos_TC, _ = self._rotation(kind, like, torch.zeros(1, dtype=torch.long, device=like.device))
        return pairs_of(layer, self.heads, cos_TC.shape[1])

    def _rotation(self, kind: AttentionKind, like: Tensor, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        named = () if kind.rotation is None else (kind.rotation,)
        cos, sin = self.rotary(like, positions_T[None], *named)
        return cos[0].to(like.dtype), sin[0].to(like.dtype)


class Layer:
    """One decoder layer: attention, then the MLP, with norms before or after each, or both."""

    def __init__(
        self, model: nn.Module, config: Any, name: str, operations: Operations, eps: float, rotary: Any
    ) -> None:
        """Read the layer of this name in the model. `config` and `rotary` are the text model's."""
        self.name, self._ops, self._eps = name, operations, eps
        modules: Any = model.get_submodule(name)
        self.kind = attention_kind(modules, config, rotary)
        self.heads = heads_of(modules, config)
        self.norms = Norms.of(modules, self.heads)
        self.activation = activation_of(modules)
        self.scale: float = modules.self_attn.scaling
        self.added_times: float = getattr(modules, "residual_multiplier", 1.0)
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
            return self._added(x_TD, self._attention_output(attended_TN, on_axis))

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
        x_SD = self._added(x_TD[positions_S], self._attention_output(attended_SN, on_positions))
        return self._mlp(x_SD, on_positions)

    def _attended(
        self,
        x_TD: Tensor,
        on_axis: AdaptersOnAxis,
        layouts: Sequence[Layout],
        lanes: Sequence[LaneInLayer | None],
    ) -> Tensor:
        """Return the attended values, [T, HE]. No layout's tokens see those of another."""
        qkv_TN = self._projected("qkv", x_TD, self.norms.before_attention_D, on_axis)
        qkv_TN = self.with_head_norms(qkv_TN)
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

    def with_head_norms(self, qkv_TN: Tensor) -> Tensor:
        """Return queries and keys with their norms, and the values as they are."""
        norms, heads = self.norms, self.heads
        if norms.queries_N is not None and norms.keys_N is not None:
            columns = heads.query_columns, heads.key_columns, heads.value_columns
            q_TN, k_TN, v_TN = (qkv_TN[:, each].contiguous() for each in columns)
            q_TN, k_TN = self._normed(q_TN, norms.queries_N), self._normed(k_TN, norms.keys_N)
            return torch.cat([q_TN, k_TN, v_TN], dim=1)
        if norms.heads_HE is None:
            return qkv_TN
        rotated = heads.key_columns.stop
        qk_TN, v_TN = qkv_TN.split([rotated, qkv_TN.shape[1] - rotated], dim=1)
        qk_THE = self._ops.norm(qk_TN.unflatten(1, (-1, heads.size)), norms.heads_HE, self._eps)
        return torch.cat([qk_THE.flatten(1), v_TN], dim=1)

    def _projected(self, key: str, x_TD: Tensor, norm_D: Tensor | None, on_axis: AdaptersOnAxis) -> Tensor:
        """Return the products of a group with x, which has a norm before unless `norm_D` is None."""
        weights = self._weights(key, on_axis)
        if norm_D is None:
            return self._ops.project(x_TD, *weights)
        return self._ops.project_norm(x_TD, norm_D, self._eps, *weights)

    def _added(self, x_TD: Tensor, values_TD: Tensor) -> Tensor:
        return x_TD + times(values_TD, self.added_times)

    def _mlp(self, x_TD: Tensor, on_axis: AdaptersOnAxis, again: bool = False) -> Tensor:
        """Return x plus the MLP's values. If it is computed `again`, only what it keeps is needed.

        A norm after the MLP keeps the values, so they are needed then.
        """
        gate_up_TI = self._projected("gate_up", x_TD, self.norms.before_mlp_D, on_axis)
        without_values = again and self.norms.after_mlp_D is None
        project = self._ops.project_swiglu_again if without_values else self._ops.project_swiglu
        mlp_TD = project(gate_up_TI, *self._weights("down", on_axis), activation=self.activation)
        return self._added(x_TD, self._normed(mlp_TD, self.norms.after_mlp_D))

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
