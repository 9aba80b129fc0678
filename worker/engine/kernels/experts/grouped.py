"""A layer of experts by grouped products: a GPU computes it without asking the host where experts begin.

The result is that of `layer.compute_experts`. Tokens with the same adapters are computed together, but at
most EXPERT_TOKENS at once. A token has a fixed number of experts, so the number of their pairs is known
before the routes are. The pairs are sorted by expert, and each product is one call for all experts. The
frozen weights must be in memory as a whole, in bf16; others take the loop over the experts.

The inputs of the pairs exist for a while, in the forward and in the backward pass. What is kept is the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from core.estimates.workspace import EXPERT_TOKENS
from worker.engine.kernels.experts.layer import (
    DenseExperts,
    ExpertUpdate,
    ExpertWeights,
    Layer,
    Projection,
)
from worker.engine.kernels.grouped import ALIGNED, has_kernel


def can_group(x_TD: Tensor, layer: Layer) -> bool:
    """Return whether grouped products compute the layer: on a GPU that has PyTorch's kernel, in bf16."""
    return (
        x_TD.is_cuda
        and x_TD.dtype == torch.bfloat16
        and has_kernel(x_TD.device)
        and all(_are_whole(each.weights) for each in (layer.up, layer.down))
    )


def _are_whole(experts: ExpertWeights) -> bool:
    """Return whether the weights are in memory as the kernel needs them."""
    aligned = not any(size % ALIGNED for size in experts.shape[1:])
    return isinstance(experts, DenseExperts) and experts.weights.dtype == torch.bfloat16 and aligned


def compute_in_groups(
    x_TD: Tensor, index_TC: Tensor, weights_TC: Tensor, layer: Layer, masters: Sequence[Tensor] = ()
) -> Tensor:
    """Return what `layer.compute_experts` returns."""
    parts = list(_parts(layer, len(x_TD)))
    sizes = [size for size, _ in parts]
    spans = zip(x_TD.split(sizes), weights_TC.split(sizes), index_TC.split(sizes), strict=True)
    return torch.cat(
        [_Experts.apply(*span, own, *masters) for span, (_, own) in zip(spans, parts, strict=True)]
    )


def _parts(layer: Layer, tokens: int) -> Iterator[tuple[int, Layer]]:
    """Yield the number of the tokens of each span of the axis, and the layer with the updates of these."""
    updates = (*layer.up.updates, *layer.down.updates)
    of_jobs = (edge for each in updates for edge in each.tokens.indices(tokens)[:2])
    edges = sorted({*range(0, tokens, EXPERT_TOKENS), tokens, *of_jobs})
    for start, stop in pairwise(edges):
        up, down = (
            replace(each, updates=[one for one in each.updates if start in range(tokens)[one.tokens]])
            for each in (layer.up, layer.down)
        )
        yield stop - start, replace(layer, up=up, down=down)


class _Pairs:
    """The pairs of some tokens and their experts, sorted by expert."""

    def __init__(self, index_TC: Tensor, experts: int) -> None:
        self.shape = index_TC.shape
        self.experts_P, self.order_P = index_TC.flatten().sort(stable=True)
        self.tokens_P = self.order_P // self.shape[1]
        numbers_E = torch.arange(experts, device=index_TC.device)
        self._ends_E = torch.searchsorted(self.experts_P, numbers_E, right=True)
        self.offsets_E = self._ends_E.to(torch.int32)

    def summed(self, y_PN: Tensor) -> Tensor:
        """Return the sum of each token's pairs, [T, N], in fp32."""
        by_token_PN = torch.empty_like(y_PN).index_copy_(0, self.order_P, y_PN)
        return by_token_PN.unflatten(0, self.shape).sum(1, dtype=torch.float32)

    def products(self, x_PK: Tensor, weights_EKN: Tensor) -> Tensor:
        """Return the product of each pair with its expert's matrix, [P, N]."""
        return F.grouped_mm(x_PK, weights_EKN, offs=self.offsets_E)

    def outer_products(self, x_PM: Tensor, y_PN: Tensor) -> Tensor:
        """Return xᵀ y of each expert's pairs, [E, M, N]."""
        found_EMN = F.grouped_mm(x_PM.T, y_PN, offs=self.offsets_E)
        counts_E = self._ends_E.diff(prepend=self._ends_E.new_zeros(1))
        return found_EMN.where(counts_E[:, None, None] > 0, 0)  # the kernel may write nothing for no pairs


class _Grouped:
    """One projection of all experts, with the update of an adapter if the pairs have one."""

    def __init__(self, projection: Projection, pairs: _Pairs) -> None:
        weights = projection.weights
        assert isinstance(weights, DenseExperts)
        self._pairs, self._bias_EN = pairs, weights.bias_EN
        self._weights_EKN = weights.weights if weights.transposed else weights.weights.transpose(1, 2)
        self._update: ExpertUpdate | None = next(iter(projection.updates), None)
        if self._update is not None:
            # The kernel needs rows of whole 16 bytes, and B expert by expert
            missing = -self._update.A_ERK.shape[1] % ALIGNED
            self._A_ERK = F.pad(self._update.A_ERK, (0, 0, 0, missing))
            self._B_ERN = F.pad(self._update.B_NRE.permute(2, 1, 0), (0, 0, 0, missing)).contiguous()

    def forward(self, x_PK: Tensor, times_P1: Tensor | float = 1.0) -> Tensor:
        """Return the projection, with some times its bias."""
        y_PN = self._pairs.products(x_PK, self._weights_EKN)
        if self._bias_EN is not None:
            y_PN += self._bias_EN[self._pairs.experts_P] * times_P1
        if self._update is not None:
            y_PN.add_(self._pairs.products(self._reduced(x_PK), self._B_ERN), alpha=self._update.scale)
        return y_PN

    def backward(self, dy_PN: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the gradient of the inputs, and that of x Aᵀ if there is an update."""
        dx_PK = self._pairs.products(dy_PN, self._weights_EKN.transpose(1, 2))
        if self._update is None:
            return dx_PK, None
        dz_PR = self._pairs.products(dy_PN, self._B_ERN.transpose(1, 2)).mul_(self._update.scale)
        return dx_PK.add_(self._pairs.products(dz_PR, self._A_ERK)), dz_PR

    def collect(self, x_PK: Tensor, dy_PN: Tensor, dz_PR: Tensor | None) -> None:
        """Add to the gradients of the factors."""
        if self._update is None or self._update.dA_ERK is None or self._update.dB_NRE is None:
            return
        assert dz_PR is not None
        dA_ERK, dB_ERN = self._update.dA_ERK, self._update.dB_NRE.permute(2, 1, 0)
        ranks = slice(dA_ERK.shape[1])
        dA_ERK.add_(self._pairs.outer_products(dz_PR, x_PK)[:, ranks])
        added_ERN = self._pairs.outer_products(self._reduced(x_PK), dy_PN)[:, ranks]
        dB_ERN.add_(added_ERN, alpha=self._update.scale)

    def bias_products(self, dy_PN: Tensor) -> Tensor | float:
        """Return the product of each pair's gradient with its bias, [P]."""
        if self._bias_EN is None:
            return 0.0
        return (dy_PN * self._bias_EN[self._pairs.experts_P]).sum(-1, dtype=torch.float32)

    def _reduced(self, x_PK: Tensor) -> Tensor:
        return self._pairs.products(x_PK, self._A_ERK.transpose(1, 2))


class _Experts(torch.autograd.Function):
    # As in `layer.py`, the masters only make autograd call `backward`, and no hook sees the frozen weights.

    @staticmethod
    def forward(ctx, x_TD, weights_TC, index_TC, layer, *_masters):  # type: ignore[no-untyped-def]
        pairs = _Pairs(index_TC, layer.up.weights.shape[0])
        w_P1 = weights_TC.flatten()[pairs.order_P, None].float()
        h_PN = _Grouped(layer.up, pairs).forward(x_TD.index_select(0, pairs.tokens_P))
        a_PI = layer.gate.of(h_PN).mul_(w_P1)
        out_TD = pairs.summed(_Grouped(layer.down, pairs).forward(a_PI, w_P1))
        ctx.layer = layer
        ctx.save_for_backward(x_TD, weights_TC, index_TC, h_PN)
        return out_TD.to(x_TD.dtype)

    @staticmethod
    def backward(ctx, dout_TD):  # type: ignore[no-untyped-def]
        x_TD, weights_TC, index_TC, h_PN = ctx.saved_tensors
        layer = ctx.layer
        pairs = _Pairs(index_TC, layer.up.weights.shape[0])
        w_P1 = weights_TC.flatten()[pairs.order_P, None].float()
        up, down = _Grouped(layer.up, pairs), _Grouped(layer.down, pairs)
        dout_PD = dout_TD.index_select(0, pairs.tokens_P)
        g_PI, dz_PR = down.backward(dout_PD)  # the gradient of down's input
        a_PI, dh_PN = layer.gate.again((g_PI * w_P1).to(g_PI.dtype), h_PN)
        dweights_P = (g_PI * a_PI).sum(-1, dtype=torch.float32) + down.bias_products(dout_PD)
        down.collect(a_PI.mul_(w_P1), dout_PD, dz_PR)
        dx_PD, dz_PR = up.backward(dh_PN)
        up.collect(x_TD.index_select(0, pairs.tokens_P), dh_PN, dz_PR)
        dweights = torch.empty_like(dweights_P).index_copy_(0, pairs.order_P, dweights_P)
        masters = (None for _ in range(len(ctx.needs_input_grad) - 4))
        dx_TD = pairs.summed(dx_PD).to(x_TD.dtype)
        return dx_TD, dweights.view(index_TC.shape).to(weights_TC.dtype), None, None, *masters
