"""The fast path: the frozen base model's forward pass over one token axis, with the adapters of a cohort.

The weights are transformers' own. Projections that read the same input are merged into one matrix, and the
original parameters become views of it. So the plain model stays whole: it is the slow twin, and PEFT attaches
adapters to it.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from core.catalog import Compute
from core.estimates.memory_plan import Recompute
from worker.engine.batch.division import Costs
from worker.engine.batch.images import embedded
from worker.engine.batch.joining import with_whole_tiles
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.decoders.adapters_on_axis import AdaptersOnAxis
from worker.engine.decoders.architecture import (
    UNROTATED,
    AttentionKind,
    eps_of,
    norm_weight,
    norms_of,
    pairs_of,
    query_scale,
)
from worker.engine.decoders.head import Head
from worker.engine.decoders.layer import Layer, Pass, times
from worker.engine.decoders.own_inputs import OwnInputs
from worker.engine.decoders.portable import body_of
from worker.engine.decoders.projections import MergedProjections
from worker.engine.decoders.text_decoder import Adapters, Path
from worker.engine.device.free_memory import return_freed_pages
from worker.engine.kernels.attention import Layout
from worker.engine.kernels.frozen_weight import FrozenWeight
from worker.engine.kernels.operations import Operations, operations_on
from worker.engine.kernels.recomputation import keeping_inputs
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
        self._saving_context = saved_in_bf16 if save_in_bf16 else nullcontext
        self._ops = operations or operations_on(self.device)
        prefix = next(name for name, module in model.named_modules() if module is body)
        names = [f"{prefix}.layers.{number}" for number in range(len(layers))]
        self.layers: list[Layer] = []
        for name in names:
            self.layers.append(Layer(model, config, name, self._ops, self.eps, self.rotary))
            return_freed_pages()  # of the weights that the layer has merged
        self.experts: Mapping[str, tuple[int, int, int]] = {
            name: shape
            for layer in self.layers
            if layer.routed
            for name, shape in layer.routed.shapes.items()
        }
        self.pairs = {kind: self._pairs_of(kind, layers[0]) for kind in self.kinds}
        self.own_inputs = OwnInputs.of(model, body, prefix, self.eps)

    @property
    def device(self) -> torch.device:
        return self.final_norm_D.device

    @property
    def head_weight(self) -> FrozenWeight:
        return self.head.weight

    @property
    def groups(self) -> dict[str, MergedProjections]:
        """Every projection that an adapter can be attached to, by the name of its group."""
        found = {name: group for layer in self.layers for name, group in layer.groups.items()}
        return (
            found if self.own_inputs is None else found | {self.own_inputs.name: self.own_inputs.projection}
        )

    def compute_in(self, compute: Compute) -> None:
        """Take all products with the layers' weights in a format of 8 bits from now on.

        Weights that are held in int8 already are multiplied as they are. Others stay beside their 8 bits.
        """
        for layer in self.layers:
            layer.compute_in(compute)

    @property
    def products(self) -> int:
        """The number of the layers' weights that one token is multiplied by."""
        dense = sum(prod(group.weight.shape) for group in self.groups.values())
        return dense + sum(layer.routed.products for layer in self.layers if layer.routed)

    @property
    def costs(self) -> Costs:
        """The costs of a key and of a label, in units of a token's cost in the projections.

        They follow from the floating-point operations of the forward and the backward pass. A token takes 4
        operations for each weight of the layers. Each pair of a query and a key takes 12 HE operations in
        every layer, and each label takes 4 DV operations.
        """
        weights = self.products
        per_key = 3 * sum(layer.heads.query * layer.heads.size for layer in self.layers) * ATTENTION_EFFORT
        return Costs(key=per_key / weights, label=self.head.layer.weight.numel() / weights)

    def hidden(self, batch: MicroBatch, adapters: Adapters, recompute: Recompute = Recompute.NONE) -> Tensor:
        """Return the final hidden states of the supervised positions, [S, D].

        The last block computes its output projection and MLP for supervised positions only.
        """
        x_TD = self.embedded(batch.tokens_T, batch.images_ID)
        with self._saving_context():
            one = self.begin(batch, x_TD, adapters)
            with keeping_inputs(recompute):
                for layer in self.layers[:-1]:
                    x_TD = layer.forward(x_TD, one, recompute)
            computed_S = with_whole_tiles(batch.supervised_S)
            on_computed = one.on_axis.restricted_to(computed_S, with_whole_tiles(batch.supervised_on_host_S))
            x_SD = self.layers[-1].forward_at(computed_S, x_TD, one, on_computed)
        return self.final(x_SD[: len(batch.supervised_S)])

    def embedded(self, tokens_T: Tensor, images_ID: Tensor | None = None) -> Tensor:
        """Return the input of the first layer, [T, D]: embeddings of words, and vectors of images."""
        return times(embedded(self.embedding, tokens_T, images_ID), self.embedding_multiplier)

    def final(self, x_SD: Tensor) -> Tensor:
        """Return what the head multiplies, of the last layer's output."""
        return self.head.scaled(self._ops.norm(x_SD, self.final_norm_D, self.eps))

    def begin(self, batch: MicroBatch, x_TD: Tensor, adapters: Adapters) -> Pass:
        """Return what the layers of a forward pass have in common; x is the first layer's input."""
        on_axis = AdaptersOnAxis.of(batch, adapters, self._ops.drop)
        own_inputs = None
        if self.own_inputs is not None:
            shares = on_axis.shares(self.own_inputs.name)
            own_TN = self._ops.project(x_TD, self.own_inputs.weight, shares)
            own_inputs = self.own_inputs.by_layer(batch.tokens_T, own_TN, self._ops.norm)
        return Pass(on_axis, self._layouts(batch, x_TD), own_inputs)

    def _layouts(self, batch: MicroBatch, x_TD: Tensor) -> dict[AttentionKind, list[Layout]]:
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
                Layout(member.segments, kind.heads, cos, sin, member.lane, *how, scale)
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
            ones_TE = like.new_ones(len(positions_T), kind.heads.size)
            return ones_TE, torch.zeros_like(ones_TE)
        return self.pairs[kind].spread(*self._rotation(kind, like, positions_T), kind.heads.size)

    def query_scale(self, positions_T: Tensor, like: Tensor) -> Tensor | None:
        """Return the factors of the queries, [T, 1], in the type of `like`; None if they have none."""
        scale_T1 = query_scale(self._config, positions_T)
        return None if scale_T1 is None else scale_T1.to(like.dtype)

    def _pairs_of(self, kind: AttentionKind, layer: nn.Module) -> Pairs:
        if kind.rotation == UNROTATED:
            return Pairs(kind.heads.size)
        like = self.final_norm_D.float()
        cos_TC, _ = self._rotation(kind, like, torch.zeros(1, dtype=torch.long, device=like.device))
        return pairs_of(layer, kind.heads, cos_TC.shape[1])

    def _rotation(self, kind: AttentionKind, like: Tensor, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        named = () if kind.rotation is None else (kind.rotation,)
        cos, sin = self.rotary(like, positions_T[None], *named)
        return cos[0].to(like.dtype), sin[0].to(like.dtype)
