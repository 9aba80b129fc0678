"""A frozen projection with low-rank adapters, as one autograd function.

    y = x Wᵀ + s (x Aᵀ) Bᵀ        (Hu et al. 2021, arXiv:2106.09685)

W may hold several projections of one input, one below the other (queries, keys and values); then the A of one
adapter lie below each other too and take one product, but for dropout: there A sees x ∘ mask / (1 - p), by a
mask of its own for each projection. y may have a gain (`gain.py`). Each adapter works on its own contiguous
run of tokens. Saved for the backward pass are x, which the caller shares, and the rank-R product; y too where
it has a gain. W gets no gradient, and the factors' gradients are added in place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.engine.batch.dropout import kept
from worker.engine.kernels.elementwise import rms_norm_gradient, rms_norm_values, swiglu_again, swiglu_values
from worker.engine.kernels.gain import Gain
from worker.engine.parameters.flat import FlatParameters, Place


@dataclass(frozen=True)
class Part:
    """One projection of a group: its columns of the output, its ranks among the group's, its B [N, R].

    `salt` tells its dropout from others'. `gain` is where e [N] of its gain stands, which leaves the frozen
    layer's `bias_N` alone.
    """

    columns: slice
    ranks: slice
    B: Place
    scale: float
    salt: int = 0
    gain: Place | None = None
    bias_N: Tensor | None = None


class LowRank:
    """One adapter's factors on a group of projections of one input, with the gradient of one lane.

    A is [ΣR, K], all ranks of the group. `dropout` is the probability for an input to be dropped in training.
    """

    def __init__(
        self,
        parameters: FlatParameters,
        A: Place,
        parts: Sequence[Part],
        lane: int = 0,
        dropout: float = 0.0,
    ) -> None:
        gradient = parameters.lane_gradients[lane]
        self.parameters, self.A, self.parts, self.dropout = parameters, A, parts, dropout
        self.A_RK, self.dA_RK = A.of(parameters.low), A.of(gradient)
        self.Bs_NR = [part.B.of(parameters.low) for part in parts]
        self.dBs_NR = [part.B.of(gradient) for part in parts]
        self.gains = [
            Gain(part.columns, part.gain.of(parameters.low), part.gain.of(gradient), part.bias_N)
            for part in parts
            if part.gain is not None
        ]

    def alone(self, part: Part) -> "LowRank":
        """One projection of the group by itself, as a layer of its own has it."""
        columns = self.A.shape[1]
        ranks = part.ranks.stop - part.ranks.start
        A = Place(self.A.start + part.ranks.start * columns, (ranks, columns))
        own = replace(part, columns=slice(None), ranks=slice(ranks))
        return LowRank(self.parameters, A, [own], dropout=self.dropout)


@dataclass(frozen=True)
class Share:
    """An adapter's part in a projection: its tokens on the axis, its factors, and what dropout follows from.

    `draws_T` are those of its own tokens; None where nothing is dropped.
    """

    tokens: slice
    low_rank: LowRank
    draws_T: Tensor | None = None

    @classmethod
    def on(cls, tokens: slice, low_rank: LowRank, draws_T: Tensor | None) -> "Share":
        """With its part of the axis's draws, if it drops anything."""
        return cls(tokens, low_rank, draws_T[tokens] if draws_T is not None and low_rank.dropout else None)

    @property
    def is_plain(self) -> bool:
        """Whether it is a low-rank update and nothing else."""
        return self.draws_T is None and not self.low_rank.gains

    def dropped(self, x_TK: Tensor, part: Part) -> Tensor:
        """x ∘ mask / (1 - p) of its own tokens, by a projection's mask."""
        if self.draws_T is None:
            return x_TK
        p = self.low_rank.dropout
        return torch.where(kept(self.draws_T, part.salt, x_TK.shape[1], p), x_TK, 0) / (1 - p)

    def reduced(self, x_TK: Tensor) -> Tensor:
        """z_TR = x Aᵀ for its tokens on the axis."""
        x_TK, A_RK = x_TK[self.tokens], self.low_rank.A_RK
        if self.draws_T is None:
            return x_TK @ A_RK.T
        parts = self.low_rank.parts
        return torch.cat([self.dropped(x_TK, part) @ A_RK[part.ranks].T for part in parts], 1)

    def add_expanded(self, dz_TR: Tensor, dx_TK: Tensor) -> None:
        """Add dz A where its tokens stand on the axis."""
        dx_TK, A_RK = dx_TK[self.tokens], self.low_rank.A_RK
        if self.draws_T is None:
            dx_TK.addmm_(dz_TR, A_RK)
            return
        for part in self.low_rank.parts:
            dx_TK.add_(self.dropped(dz_TR[:, part.ranks] @ A_RK[part.ranks], part))

    def outer(self, dz_TR: Tensor, x_TK: Tensor) -> Tensor:
        """dA_RK = dzᵀ x over its tokens on the axis."""
        x_TK = x_TK[self.tokens]
        if self.draws_T is None:
            return dz_TR.T @ x_TK
        parts = self.low_rank.parts
        return torch.cat([dz_TR[:, part.ranks].T @ self.dropped(x_TK, part) for part in parts])


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
    """y plus each adapter's update of its tokens, times its gain, left to autograd."""
    y_TN = y_TN.clone()
    for share in shares:
        low_rank, factors = share.low_rank, share.low_rank.parameters.factors()
        A_RK = low_rank.A.of(factors).to(x_TK.dtype)
        for part in low_rank.parts:
            z_TR = share.dropped(x_TK[share.tokens], part) @ A_RK[part.ranks].T
            B_NR = part.B.of(factors).to(x_TK.dtype)
            u_TN = y_TN[share.tokens, part.columns] + part.scale * (z_TR @ B_NR.T)
            if part.gain is not None:
                bias_N = 0 if part.bias_N is None else part.bias_N
                u_TN = u_TN + part.gain.of(factors).to(x_TK.dtype) * (u_TN - bias_N)
            y_TN[share.tokens, part.columns] = u_TN
    return y_TN


class _Projection(torch.autograd.Function):
    # The masters are inputs only so that autograd calls `backward`; it adds to their gradients itself. W is
    # not among the saved tensors: no hook for activations may see it.

    @staticmethod
    def forward(ctx, x_TK, W_NK, shares, *_masters):  # type: ignore[no-untyped-def]
        y_TN, gained_TN, products = _forward(x_TK, W_NK, shares)
        ctx.weight_NK, ctx.shares = W_NK, shares
        ctx.save_for_backward(x_TK, gained_TN, *products)
        return y_TN

    @staticmethod
    def backward(ctx, dy_TN):  # type: ignore[no-untyped-def]
        x_TK, gained_TN, *products = ctx.saved_tensors
        dy_TN = through_gains(dy_TN, gained_TN, ctx.shares)
        dx_TK = dy_TN @ ctx.weight_NK if ctx.needs_input_grad[0] else None
        for share, dz_TR in zip(ctx.shares, add_gradients(dy_TN, dx_TK, ctx.shares, products), strict=True):
            share.low_rank.dA_RK.add_(share.outer(dz_TR, x_TK))
        return dx_TK, None, None, *(None for _ in ctx.shares)


class _NormProjection(torch.autograd.Function):
    # Of `project(rms_norm(x))`, n = rstd x · weight. n is not kept: dA = dzᵀ n = (rstd dz)ᵀ x · weight

    @staticmethod
    def forward(ctx, x_TK, weight_K, eps, W_NK, shares, *_masters):  # type: ignore[no-untyped-def]
        n_TK, rstd_T1 = rms_norm_values(x_TK, weight_K, eps)
        y_TN, gained_TN, products = _forward(n_TK, W_NK, shares)
        ctx.weight_NK, ctx.shares = W_NK, shares
        ctx.save_for_backward(x_TK, weight_K, rstd_T1, gained_TN, *products)
        return y_TN

    @staticmethod
    def backward(ctx, dy_TN):  # type: ignore[no-untyped-def]
        x_TK, weight_K, rstd_T1, gained_TN, *products = ctx.saved_tensors
        dy_TN = through_gains(dy_TN, gained_TN, ctx.shares)
        dn_TK = dy_TN @ ctx.weight_NK if ctx.needs_input_grad[0] else None
        for share, dz_TR in zip(ctx.shares, add_gradients(dy_TN, dn_TK, ctx.shares, products), strict=True):
            scaled_TR = dz_TR.mul_(rstd_T1[share.tokens])
            share.low_rank.dA_RK.addcmul_(share.outer(scaled_TR, x_TK).float(), weight_K.float())
        dx_TK = None if dn_TK is None else rms_norm_gradient(dn_TK, x_TK, weight_K, rstd_T1)
        return dx_TK, None, None, None, None, *(None for _ in ctx.shares)


class _SwiGluProjection(torch.autograd.Function):
    # Of `project(swiglu(...))`: what goes in is computed again instead of saved; it is the widest activation

    @staticmethod
    def forward(ctx, gate_up_TI, W_NK, shares, *_masters):  # type: ignore[no-untyped-def]
        y_TN, gained_TN, products = _forward(swiglu_values(gate_up_TI), W_NK, shares)
        ctx.weight_NK, ctx.shares = W_NK, shares
        ctx.save_for_backward(gate_up_TI, gained_TN, *products)
        return y_TN

    @staticmethod
    def backward(ctx, dy_TN):  # type: ignore[no-untyped-def]
        gate_up_TI, gained_TN, *products = ctx.saved_tensors
        dy_TN = through_gains(dy_TN, gained_TN, ctx.shares)
        dx_TK = dy_TN @ ctx.weight_NK
        dzs = add_gradients(dy_TN, dx_TK, ctx.shares, products)
        x_TK, dgate_up_TI = swiglu_again(dx_TK, gate_up_TI)
        for share, dz_TR in zip(ctx.shares, dzs, strict=True):
            share.low_rank.dA_RK.add_(share.outer(dz_TR, x_TK))
        return dgate_up_TI, None, None, *(None for _ in ctx.shares)


def _forward(
    x_TK: Tensor, W_NK: Tensor, shares: Sequence[Share]
) -> tuple[Tensor, Tensor | None, list[Tensor]]:
    """y_TN, the same once more where it has gains, and the rank-R product of each share."""
    y_TN = x_TK @ W_NK.T
    products = add_updates(y_TN, x_TK, shares)
    return y_TN, apply_gains(y_TN, shares), products


def add_updates(y_TN: Tensor, x_TK: Tensor, shares: Sequence[Share]) -> list[Tensor]:
    """Add each share's update to y_TN, where it stands; their rank-R products, which the way back needs."""
    products = []
    for share in shares:
        low_rank = share.low_rank
        z_TR = share.reduced(x_TK)
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
            share.add_expanded(dz_TR, dx_TK)
        dzs.append(dz_TR)
    return dzs


def apply_gains(y_TN: Tensor, shares: Sequence[Share]) -> Tensor | None:
    """Each share's gains on its tokens, where they stand; y_TN if there are any: the way back needs it."""
    for share in shares:
        for gain in share.low_rank.gains:
            gain.apply(y_TN[share.tokens])
    return y_TN if any(share.low_rank.gains for share in shares) else None


def through_gains(dy_TN: Tensor, gained_TN: Tensor | None, shares: Sequence[Share]) -> Tensor:
    """The gradient of what the gains stand on; adds to that of the gains."""
    if gained_TN is None:
        return dy_TN
    dy_TN = dy_TN.clone()
    for share in shares:
        for gain in share.low_rank.gains:
            gain.add_gradients(dy_TN[share.tokens], gained_TN[share.tokens])
    return dy_TN
