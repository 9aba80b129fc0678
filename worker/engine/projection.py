"""A frozen projection with low-rank adapters, as one autograd function.

    y = x Wᵀ + s (x Aᵀ) Bᵀ        (Hu et al. 2021, arXiv:2106.09685)

W may hold several projections of one input, one below the other (queries, keys and values); then the A of one
adapter lie below each other too and take one product. Each adapter works on its own contiguous run of tokens.
Saved for the backward pass are x, which the caller shares, and the rank-R product; W gets no gradient, and
the factors' gradients are added in place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.elementwise import rms_norm_gradient, rms_norm_values, swiglu_again, swiglu_values
from worker.engine.parameters import FlatParameters, Place


@dataclass(frozen=True)
class Part:
    """One projection of a group: its columns of the output, its ranks among the group's, its B [N, R]."""

    columns: slice
    ranks: slice
    B: Place
    scale: float


class LowRank:
    """One adapter's factors on a group of projections of one input, with the gradient of one lane.

    A is [ΣR, K], all ranks of the group.
    """

    def __init__(self, parameters: FlatParameters, A: Place, parts: Sequence[Part], lane: int = 0) -> None:
        gradient = parameters.lane_gradients[lane]
        self.parameters, self.A, self.parts = parameters, A, parts
        self.A_RK, self.dA_RK = A.of(parameters.low), A.of(gradient)
        self.Bs_NR = [part.B.of(parameters.low) for part in parts]
        self.dBs_NR = [part.B.of(gradient) for part in parts]


@dataclass(frozen=True)
class Share:
    """An adapter's part in a projection: its tokens on the axis, and its factors."""

    tokens: slice
    low_rank: LowRank


def project(x_TK: Tensor, W_NK: Tensor, shares: Sequence[Share]) -> Tensor:
    """y_TN for the tokens of all adapters at once; the optimised twin of `project_plainly`."""
    return _Projection.apply(x_TK, W_NK, shares, *(share.low_rank.parameters.master for share in shares))


def project_norm(x_TK: Tensor, weight_K: Tensor, eps: float, W_NK: Tensor, shares: Sequence[Share]) -> Tensor:
    """`project(rms_norm(x_TK, weight_K, eps), W_NK, shares)`, without keeping what lies between."""
    masters = (share.low_rank.parameters.master for share in shares)
    return _NormProjection.apply(x_TK, weight_K, eps, W_NK, shares, *masters)


def project_swiglu(gate_up_TI: Tensor, W_NK: Tensor, shares: Sequence[Share]) -> Tensor:
    """`project(swiglu(gate_up_TI), W_NK, shares)`, without keeping what lies between."""
    masters = (share.low_rank.parameters.master for share in shares)
    return _SwiGluProjection.apply(gate_up_TI, W_NK, shares, *masters)


def project_plainly(x_TK: Tensor, W_NK: Tensor, shares: Sequence[Share]) -> Tensor:
    """What `project` must equal, left to autograd."""
    return add_low_rank_plainly(x_TK @ W_NK.T, x_TK, shares)


def add_low_rank_plainly(y_TN: Tensor, x_TK: Tensor, shares: Sequence[Share]) -> Tensor:
    """y plus each adapter's update of its tokens, left to autograd."""
    for share in shares:
        low_rank, factors = share.low_rank, share.low_rank.parameters.factors()
        z_TR = x_TK[share.tokens] @ low_rank.A.of(factors).to(x_TK.dtype).T
        for part in low_rank.parts:
            update_TN = torch.zeros_like(y_TN)
            B_NR = part.B.of(factors).to(x_TK.dtype)
            update_TN[share.tokens, part.columns] = part.scale * (z_TR[:, part.ranks] @ B_NR.T)
            y_TN = y_TN + update_TN
    return y_TN


class _Projection(torch.autograd.Function):
    # The masters are inputs only so that autograd calls `backward`; it adds to their gradients itself.

    @staticmethod
    def forward(ctx, x_TK, W_NK, shares, *_masters):  # type: ignore[no-untyped-def]
        y_TN, products = _forward(x_TK, W_NK, shares)
        ctx.shares = shares
        ctx.save_for_backward(x_TK, W_NK, *products)
        return y_TN

    @staticmethod
    def backward(ctx, dy_TN):  # type: ignore[no-untyped-def]
        x_TK, W_NK, *products = ctx.saved_tensors
        dx_TK = dy_TN @ W_NK if ctx.needs_input_grad[0] else None
        for share, dz_TR in zip(ctx.shares, add_gradients(dy_TN, dx_TK, ctx.shares, products), strict=True):
            share.low_rank.dA_RK.add_(dz_TR.T @ x_TK[share.tokens])
        return dx_TK, None, None, *(None for _ in ctx.shares)


class _NormProjection(torch.autograd.Function):
    # Of `project(rms_norm(x))`, n = rstd x · weight. n is not kept: dA = dzᵀ n = (rstd dz)ᵀ x · weight

    @staticmethod
    def forward(ctx, x_TK, weight_K, eps, W_NK, shares, *_masters):  # type: ignore[no-untyped-def]
        n_TK, rstd_T1 = rms_norm_values(x_TK, weight_K, eps)
        y_TN, products = _forward(n_TK, W_NK, shares)
        ctx.shares = shares
        ctx.save_for_backward(x_TK, weight_K, rstd_T1, W_NK, *products)
        return y_TN

    @staticmethod
    def backward(ctx, dy_TN):  # type: ignore[no-untyped-def]
        x_TK, weight_K, rstd_T1, W_NK, *products = ctx.saved_tensors
        dn_TK = dy_TN @ W_NK if ctx.needs_input_grad[0] else None
        for share, dz_TR in zip(ctx.shares, add_gradients(dy_TN, dn_TK, ctx.shares, products), strict=True):
            scaled_TR = dz_TR.mul_(rstd_T1[share.tokens])
            share.low_rank.dA_RK.addcmul_((scaled_TR.T @ x_TK[share.tokens]).float(), weight_K.float())
        dx_TK = None if dn_TK is None else rms_norm_gradient(dn_TK, x_TK, weight_K, rstd_T1)
        return dx_TK, None, None, None, None, *(None for _ in ctx.shares)


class _SwiGluProjection(torch.autograd.Function):
    # Of `project(swiglu(...))`: what goes in is computed again instead of saved; it is the widest activation

    @staticmethod
    def forward(ctx, gate_up_TI, W_NK, shares, *_masters):  # type: ignore[no-untyped-def]
        y_TN, products = _forward(swiglu_values(gate_up_TI), W_NK, shares)
        ctx.shares = shares
        ctx.save_for_backward(gate_up_TI, W_NK, *products)
        return y_TN

    @staticmethod
    def backward(ctx, dy_TN):  # type: ignore[no-untyped-def]
        gate_up_TI, W_NK, *products = ctx.saved_tensors
        dx_TK = dy_TN @ W_NK
        dzs = add_gradients(dy_TN, dx_TK, ctx.shares, products)
        x_TK, dgate_up_TI = swiglu_again(dx_TK, gate_up_TI)
        for share, dz_TR in zip(ctx.shares, dzs, strict=True):
            share.low_rank.dA_RK.add_(dz_TR.T @ x_TK[share.tokens])
        return dgate_up_TI, None, None, *(None for _ in ctx.shares)


def _forward(x_TK: Tensor, W_NK: Tensor, shares: Sequence[Share]) -> tuple[Tensor, list[Tensor]]:
    """y_TN, and the rank-R product of each share."""
    y_TN = x_TK @ W_NK.T
    return y_TN, add_updates(y_TN, x_TK, shares)


def add_updates(y_TN: Tensor, x_TK: Tensor, shares: Sequence[Share]) -> list[Tensor]:
    """Add each share's update to y_TN, where it stands; their rank-R products, which the way back needs."""
    products = []
    for share in shares:
        low_rank = share.low_rank
        z_TR = x_TK[share.tokens] @ low_rank.A_RK.T
        for part, B_NR in zip(low_rank.parts, low_rank.Bs_NR, strict=True):
            y, z = y_TN[share.tokens, part.columns], z_TR[:, part.ranks]
            if y.dtype == z.dtype:
                y.addmm_(z, B_NR.T, alpha=part.scale)
            else:
                y.add_(z @ B_NR.T, alpha=part.scale)
        products.append(z_TR)
    return products


def add_gradients(
    dy_TN: Tensor, dx_TK: Tensor | None, shares: Sequence[Share], products: Sequence[Tensor]
) -> list[Tensor]:
    """Add to the gradients of B, and the low-rank part to dx_TK, where they stand; dz_TR of each share."""
    dzs = []
    for share, z_TR in zip(shares, products, strict=True):
        low_rank = share.low_rank
        dz_TR = torch.empty_like(z_TR)
        for part, B_NR, dB_NR in zip(low_rank.parts, low_rank.Bs_NR, low_rank.dBs_NR, strict=True):
            dy = dy_TN[share.tokens, part.columns]
            dz_TR[:, part.ranks] = torch.mm(dy, B_NR).mul_(part.scale)
            dB_NR.add_((z_TR[:, part.ranks].T @ dy).T, alpha=part.scale)
        if dx_TK is not None:
            dx_TK[share.tokens].addmm_(dz_TR, low_rank.A_RK)
        dzs.append(dz_TR)
    return dzs
