"""A frozen projection with low-rank adapters, as one autograd function.

    y = x Wᵀ + s (x Aᵀ) Bᵀ        (Hu et al. 2021, arXiv:2106.09685)

W may hold a group of projections of one input, one below the other (queries, keys and values). Then the A of
one adapter lie below each other too and are multiplied in one product. With dropout, each A takes a product
of its own: it sees x ∘ mask / (1 - p), with another mask for each projection. y may have a gain (`gain.py`).
Each adapter works on its own contiguous span of tokens. An adapter that is invoked by some tokens (aLoRA) has
z = x Aᵀ = 0 on the tokens before them.

The backward pass needs x, which the caller keeps anyway, and the rank-R product; if y has a gain, it needs y
too. W gets no gradient, and the factors' gradients are added in place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from worker.engine.batch.dropout import dropped
from worker.engine.kernels.elementwise import (
    SILU,
    Activation,
    SwiGlu,
    rms_norm_gradient,
    rms_norm_values,
)
from worker.engine.kernels.frozen_weight import FrozenWeight
from worker.engine.kernels.gain import Gain
from worker.engine.kernels.in_c import products as in_c
from worker.engine.parameters.flat import Extent, FlatParameters

Drop = Callable[[Tensor, Tensor, int, float], Tensor]
"""The signature of `dropout.dropped`."""


@dataclass(frozen=True)
class ProjectionFactors:
    """One projection of a group: its columns of the output, its ranks among the group's, and its B, [N, R].

    `salt` makes its dropout differ from the dropout of other layers. `gain` is the extent of its gain's e,
    [N] (`gain.py`). The gain does not apply to `bias_N`, the bias of the frozen layer.
    """

    columns: slice
    ranks: slice
    B: Extent
    scale: float
    salt: int = 0
    gain: Extent | None = None
    bias_N: Tensor | None = None


class LowRank:
    """One adapter's factors on a group of projections of one input, and one lane's gradients of them.

    A is [ΣR, K]: it holds the ranks of all projections of the group. `dropout` is the probability that an
    input is dropped in training. An adapter that `is_invoked` acts only on some of its tokens.
    """

    def __init__(
        self,
        parameters: FlatParameters,
        A: Extent,
        projections: Sequence[ProjectionFactors],
        lane: int = 0,
        dropout: float = 0.0,
        is_invoked: bool = False,
    ) -> None:
        gradient = parameters.lane_gradients[lane]
        self.parameters, self.A, self.projections, self.dropout = parameters, A, projections, dropout
        self.is_invoked = is_invoked
        self.A_RK, self.dA_RK = A.of(parameters.low), A.of(gradient)
        self.Bs_NR = [each.B.of(parameters.low) for each in projections]
        self.dBs_NR = [each.B.of(gradient) for each in projections]
        self.gains = [
            Gain(each.columns, each.gain.of(parameters.low), each.gain.of(gradient), each.bias_N)
            for each in projections
            if each.gain is not None
        ]

    def alone(self, projection: ProjectionFactors) -> "LowRank":
        """Return the factors of one projection of the group, for a layer that computes only this one."""
        columns = self.A.shape[1]
        ranks = projection.ranks.stop - projection.ranks.start
        A = Extent(self.A.start + projection.ranks.start * columns, (ranks, columns))
        own = replace(projection, columns=slice(None), ranks=slice(ranks))
        return LowRank(self.parameters, A, [own], dropout=self.dropout, is_invoked=self.is_invoked)


@dataclass(frozen=True)
class Share:
    """An adapter's part in a projection: its tokens on the axis, its factors, and its dropout seeds.

    `dropout_seeds_T` has the seeds of the adapter's own tokens; it is None if nothing is dropped. `drop`
    computes as `dropout.dropped` does. `acting_T1` says on which of its tokens the adapter acts; None is all.
    """

    tokens: slice
    low_rank: LowRank
    dropout_seeds_T: Tensor | None = None
    drop: Drop = dropped
    acting_T1: Tensor | None = None

    @classmethod
    def on(
        cls,
        tokens: slice,
        low_rank: LowRank,
        dropout_seeds_T: Tensor | None,
        drop: Drop = dropped,
        acting_T: Tensor | None = None,
    ) -> "Share":
        """Return the share of an adapter, with its own tokens' part of the seeds and mask that it needs."""
        seeds_T = None if dropout_seeds_T is None or not low_rank.dropout else dropout_seeds_T[tokens]
        acting_T1 = None if acting_T is None or not low_rank.is_invoked else acting_T[tokens, None]
        return cls(tokens, low_rank, seeds_T, drop, acting_T1)

    @property
    def is_plain(self) -> bool:
        """Whether the share is a low-rank update of all its tokens, without dropout and gains."""
        return self.dropout_seeds_T is None and self.acting_T1 is None and not self.low_rank.gains

    def where_acting(self, z_TR: Tensor) -> Tensor:
        """Return z of the adapter's own tokens, or its gradient, with 0 where the adapter does not act."""
        return z_TR if self.acting_T1 is None else z_TR * self.acting_T1

    def dropped(self, x_TK: Tensor, projection: ProjectionFactors) -> Tensor:
        """Return x ∘ mask / (1 - p) for x of the adapter's own tokens, with the mask of one projection."""
        if self.dropout_seeds_T is None:
            return x_TK
        return self.drop(x_TK, self.dropout_seeds_T, projection.salt, self.low_rank.dropout)

    def reduced(self, x_TK: Tensor) -> Tensor:
        """Return z_TR = x Aᵀ for the adapter's tokens of the whole axis x_TK."""
        x_TK, A_RK = x_TK[self.tokens], self.low_rank.A_RK
        if self.dropout_seeds_T is None:
            return self.where_acting(_dots(x_TK, A_RK))
        projections = self.low_rank.projections
        z_TR = torch.cat([_dots(self.dropped(x_TK, each), A_RK[each.ranks]) for each in projections], 1)
        return self.where_acting(z_TR)

    def add_expanded(self, dz_TR: Tensor, dx_TK: Tensor) -> None:
        """Add dz A to the rows of the adapter's tokens in dx_TK."""
        dx_TK, A_RK = dx_TK[self.tokens], self.low_rank.A_RK
        if self.dropout_seeds_T is None:
            dx_TK.addmm_(dz_TR, A_RK)
            return
        for projection in self.low_rank.projections:
            dx_TK.add_(self.dropped(dz_TR[:, projection.ranks] @ A_RK[projection.ranks], projection))

    def outer(self, dz_TR: Tensor, x_TK: Tensor) -> Tensor:
        """Return dA_RK = dzᵀ x over the adapter's tokens of the whole axis x_TK."""
        x_TK = x_TK[self.tokens]
        if self.dropout_seeds_T is None:
            return dz_TR.T @ x_TK
        projections = self.low_rank.projections
        return torch.cat([dz_TR[:, each.ranks].T @ self.dropped(x_TK, each) for each in projections])


def project(x_TK: Tensor, W: FrozenWeight, shares: Sequence[Share]) -> Tensor:
    """Return y_TN for the tokens of all adapters at once. The plain twin is `project_plainly`."""
    return _Projection.apply(x_TK, W, shares, *(share.low_rank.parameters.master for share in shares))


def project_norm(
    x_TK: Tensor, weight_K: Tensor, eps: float, W: FrozenWeight, shares: Sequence[Share]
) -> Tensor:
    """Return `project(rms_norm(x_TK, weight_K, eps), W, shares)` without keeping the norm's values."""
    masters = (share.low_rank.parameters.master for share in shares)
    return _NormProjection.apply(x_TK, weight_K, eps, W, shares, *masters)


def project_swiglu(
    gate_up_TI: Tensor, W: FrozenWeight, shares: Sequence[Share], activation: Activation = SILU
) -> Tensor:
    """Return `project(swiglu(gate_up_TI, activation), W, shares)` without keeping SwiGLU's values."""
    return project_values(SwiGlu(activation), gate_up_TI, W, shares)


def project_swiglu_again(
    gate_up_TI: Tensor, W: FrozenWeight, shares: Sequence[Share], activation: Activation = SILU
) -> Tensor:
    """Keep what `project_swiglu` keeps for the backward pass. The result has its shape, but no values.

    It is for the end of a block that is computed again. This spares a quarter of a layer's products.
    """
    return project_values(SwiGlu(activation), gate_up_TI, W, shares, with_values=False)


class Values(Protocol):
    """The inputs x of a projection, as a function of what is kept for its backward pass."""

    def of(self, kept: Tensor, /) -> Tensor:
        """Return x_TK."""

    def again(self, dx_TK: Tensor, kept: Tensor, /) -> tuple[Tensor, Tensor]:
        """Return x_TK once more, and the gradient of what is kept."""


def project_values(
    values: Values, kept: Tensor, W: FrozenWeight, shares: Sequence[Share], *, with_values: bool = True
) -> Tensor:
    """Return `project(values.of(kept), W, shares)`, and keep only `kept` for the backward pass.

    Without `with_values` the result has no values, as that of `project_swiglu_again`.
    """
    masters = (share.low_rank.parameters.master for share in shares)
    return _ValuesProjection.apply(kept, W, shares, values, with_values, *masters)


def project_plainly(x_TK: Tensor, W: FrozenWeight, shares: Sequence[Share]) -> Tensor:
    """Return the same as `project`, but let autograd find the gradients."""
    return add_low_rank_plainly(W.forward(x_TK), x_TK, shares)


def add_low_rank_plainly(y_TN: Tensor, x_TK: Tensor, shares: Sequence[Share]) -> Tensor:
    """Return y plus each adapter's update of its tokens, with its gain. Autograd finds the gradients."""
    y_TN = y_TN.clone()
    for share in shares:
        low_rank, factors = share.low_rank, share.low_rank.parameters.factors()
        A_RK = low_rank.A.of(factors).to(x_TK.dtype)
        for projection in low_rank.projections:
            z_TR = share.where_acting(
                share.dropped(x_TK[share.tokens], projection) @ A_RK[projection.ranks].T
            )
            B_NR = projection.B.of(factors).to(x_TK.dtype)
            u_TN = y_TN[share.tokens, projection.columns] + projection.scale * (z_TR @ B_NR.T)
            if projection.gain is not None:
                bias_N = 0 if projection.bias_N is None else projection.bias_N
                u_TN = u_TN + projection.gain.of(factors).to(x_TK.dtype) * (u_TN - bias_N)
            y_TN[share.tokens, projection.columns] = u_TN
    return y_TN


class _Projection(torch.autograd.Function):
    # The masters are inputs only so that autograd calls `backward`, which adds to their gradients itself. W
    # is not among the saved tensors, because no hook for saved activations may see it.

    @staticmethod
    def forward(ctx, x_TK, W, shares, *_masters):  # type: ignore[no-untyped-def]
        y_TN, gained_TN, products = _forward(x_TK, W, shares)
        ctx.weight, ctx.shares = W, shares
        ctx.save_for_backward(x_TK, gained_TN, *products)
        return y_TN

    @staticmethod
    def backward(ctx, dy_TN):  # type: ignore[no-untyped-def]
        x_TK, gained_TN, *products = ctx.saved_tensors
        dy_TN = through_gains(dy_TN, gained_TN, ctx.shares)
        dx_TK = ctx.weight.backward(dy_TN) if ctx.needs_input_grad[0] else None
        for share, dz_TR in zip(ctx.shares, add_gradients(dy_TN, dx_TK, ctx.shares, products), strict=True):
            share.low_rank.dA_RK.add_(share.outer(dz_TR, x_TK))
        return dx_TK, None, None, *(None for _ in ctx.shares)


class _NormProjection(torch.autograd.Function):
    # n = rms_norm(x) = rstd x · weight is not kept for the backward pass: dA = dzᵀ n = (rstd dz)ᵀ x · weight

    @staticmethod
    def forward(ctx, x_TK, weight_K, eps, W, shares, *_masters):  # type: ignore[no-untyped-def]
        n_TK, rstd_T1 = rms_norm_values(x_TK, weight_K, eps)
        y_TN, gained_TN, products = _forward(n_TK, W, shares)
        ctx.weight, ctx.shares = W, shares
        ctx.save_for_backward(x_TK, weight_K, rstd_T1, gained_TN, *products)
        return y_TN

    @staticmethod
    def backward(ctx, dy_TN):  # type: ignore[no-untyped-def]
        x_TK, weight_K, rstd_T1, gained_TN, *products = ctx.saved_tensors
        dy_TN = through_gains(dy_TN, gained_TN, ctx.shares)
        dn_TK = ctx.weight.backward(dy_TN) if ctx.needs_input_grad[0] else None
        for share, dz_TR in zip(ctx.shares, add_gradients(dy_TN, dn_TK, ctx.shares, products), strict=True):
            scaled_TR = dz_TR.mul_(rstd_T1[share.tokens])
            share.low_rank.dA_RK.addcmul_(share.outer(scaled_TR, x_TK).float(), weight_K.float())
        dx_TK = None if dn_TK is None else rms_norm_gradient(dn_TK, x_TK, weight_K, rstd_T1)
        return dx_TK, None, None, None, None, *(None for _ in ctx.shares)


class _ValuesProjection(torch.autograd.Function):
    # SwiGLU's values are computed again in the backward pass instead of saved: no other projection has
    # an input that is as wide

    @staticmethod
    def forward(ctx, kept, W, shares, values, with_values, *_masters):  # type: ignore[no-untyped-def]
        x_TK = values.of(kept)
        if with_values or any(share.low_rank.gains for share in shares):  # gradients of gains need y
            y_TN, gained_TN, products = _forward(x_TK, W, shares)
        else:
            y_TN, gained_TN = x_TK.new_empty(len(x_TK), W.shape[0]), None
            products = [share.reduced(x_TK) for share in shares]
        ctx.weight, ctx.shares, ctx.values = W, shares, values
        ctx.save_for_backward(kept, gained_TN, *products)
        return y_TN

    @staticmethod
    def backward(ctx, dy_TN):  # type: ignore[no-untyped-def]
        kept, gained_TN, *products = ctx.saved_tensors
        dy_TN = through_gains(dy_TN, gained_TN, ctx.shares)
        dx_TK = ctx.weight.backward(dy_TN) if ctx.needs_input_grad[0] else None
        dzs = add_gradients(dy_TN, dx_TK, ctx.shares, products)
        x_TK, dkept = (ctx.values.of(kept), None) if dx_TK is None else ctx.values.again(dx_TK, kept)
        for share, dz_TR in zip(ctx.shares, dzs, strict=True):
            share.low_rank.dA_RK.add_(share.outer(dz_TR, x_TK))
        return dkept, None, None, None, None, *(None for _ in ctx.shares)


def _forward(
    x_TK: Tensor, W: FrozenWeight, shares: Sequence[Share]
) -> tuple[Tensor, Tensor | None, list[Tensor]]:
    """Return y_TN, y_TN again if it has gains (else None), and the rank-R product of each share."""
    y_TN = W.forward(x_TK)
    products = add_updates(y_TN, x_TK, shares)
    return y_TN, apply_gains(y_TN, shares), products


def add_updates(y_TN: Tensor, x_TK: Tensor, shares: Sequence[Share]) -> list[Tensor]:
    """Add each share's update to y_TN in place. Return the rank-R products, for the backward pass."""
    products = []
    for share in shares:
        low_rank = share.low_rank
        z_TR = share.reduced(x_TK)
        for projection, B_NR in zip(low_rank.projections, low_rank.Bs_NR, strict=True):
            y, z = y_TN[share.tokens, projection.columns], z_TR[:, projection.ranks]
            _add_product(y, z, B_NR, projection.scale)
        products.append(z_TR)
    return products


def _dots(x_TK: Tensor, A_RK: Tensor) -> Tensor:
    z_TR = in_c.dots(x_TK, A_RK)
    return x_TK @ A_RK.T if z_TR is None else z_TR


def _add_product(y_TN: Tensor, z_TR: Tensor, B_NR: Tensor, scale: float) -> None:
    """Add s z Bᵀ to y in place."""
    in_fp32 = y_TN.dtype is B_NR.dtype is torch.float32 and not y_TN.is_cuda
    if in_fp32 and in_c.added(y_TN, z_TR, (B_NR.T * scale).contiguous()) is not None:
        return
    if y_TN.dtype == z_TR.dtype:
        y_TN.addmm_(z_TR, B_NR.T, alpha=scale)
    else:
        y_TN.add_(z_TR @ B_NR.T, alpha=scale)


def add_gradients(
    dy_TN: Tensor, dx_TK: Tensor | None, shares: Sequence[Share], products: Sequence[Tensor]
) -> list[Tensor]:
    """Add to B's gradients, and add the low-rank part to dx_TK, in place. Return dz_TR of each share."""
    dzs = []
    for share, z_TR in zip(shares, products, strict=True):
        low_rank = share.low_rank
        dz_TR = torch.empty_like(z_TR)
        for projection, B_NR, dB_NR in zip(
            low_rank.projections, low_rank.Bs_NR, low_rank.dBs_NR, strict=True
        ):
            dy = dy_TN[share.tokens, projection.columns]
            dz_TR[:, projection.ranks] = torch.mm(dy, B_NR).mul_(projection.scale)
            dB_NR.add_((z_TR[:, projection.ranks].T @ dy).T, alpha=projection.scale)
        dz_TR = share.where_acting(dz_TR)
        if dx_TK is not None:
            share.add_expanded(dz_TR, dx_TK)
        dzs.append(dz_TR)
    return dzs


def apply_gains(y_TN: Tensor, shares: Sequence[Share]) -> Tensor | None:
    """Apply each share's gains to its tokens in place.

    Return y_TN, which the backward pass needs, or None if there are no gains.
    """
    for share in shares:
        for gain in share.low_rank.gains:
            gain.apply(y_TN[share.tokens])
    return y_TN if any(share.low_rank.gains for share in shares) else None


def through_gains(dy_TN: Tensor, gained_TN: Tensor | None, shares: Sequence[Share]) -> Tensor:
    """Return the gradient of the output before its gains; add to the gradients of the gains.

    `gained_TN` is the output with its gains, or None without gains: then dy_TN is returned as it is.
    """
    if gained_TN is None:
        return dy_TN
    dy_TN = dy_TN.clone()
    for share in shares:
        for gain in share.low_rank.gains:
            gain.add_gradients(dy_TN[share.tokens], gained_TN[share.tokens])
    return dy_TN
