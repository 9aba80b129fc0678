"""A frozen projection with low-rank adapters, as one autograd function.

    y = x Wᵀ + s (x Aᵀ) Bᵀ        (Hu et al. 2021, arXiv:2106.09685)

W may hold several projections of the same input, one below the other (queries, keys and values). Each adapter
works on its own contiguous run of tokens. Saved for the backward pass are x, which the caller shares, and the
rank-R product; W gets no gradient and x no copy in another type.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LowRank:
    """One adapter's factors on one projection of a group. A_RK and B_NR are fp32 parameters."""

    rows: slice  # of the token axis: the adapter's tokens
    columns: slice  # of the group's outputs: the projection
    A_RK: Tensor
    B_NR: Tensor
    scale: float


def project(x_TK: Tensor, W_NK: Tensor, adapters: Sequence[LowRank]) -> Tensor:
    """y_TN for the tokens of all adapters at once; the optimised twin of `project_plainly`."""
    factors = [factor for adapter in adapters for factor in (adapter.A_RK, adapter.B_NR)]
    return _Projection.apply(x_TK, W_NK, adapters, *factors)


def project_plainly(x_TK: Tensor, W_NK: Tensor, adapters: Sequence[LowRank]) -> Tensor:
    """What `project` must equal, left to autograd."""
    y_TN = x_TK @ W_NK.T
    for a in adapters:
        z_TR = x_TK[a.rows] @ a.A_RK.to(x_TK.dtype).T
        update_TN = torch.zeros_like(y_TN)
        update_TN[a.rows, a.columns] = a.scale * (z_TR @ a.B_NR.to(x_TK.dtype).T)
        y_TN = y_TN + update_TN
    return y_TN


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_TK, W_NK, adapters, *_factors):  # type: ignore[no-untyped-def]
        y_TN = x_TK @ W_NK.T
        saved = []
        for a in adapters:
            A_RK, B_NR = a.A_RK.to(x_TK.dtype), a.B_NR.to(x_TK.dtype)
            z_TR = x_TK[a.rows] @ A_RK.T
            y_TN[a.rows, a.columns].addmm_(z_TR, B_NR.T, alpha=a.scale)
            saved += [A_RK, B_NR, z_TR]
        ctx.adapters = adapters
        ctx.save_for_backward(x_TK, W_NK, *saved)
        return y_TN

    @staticmethod
    def backward(ctx, dy_TN):  # type: ignore[no-untyped-def]
        x_TK, W_NK, *saved = ctx.saved_tensors
        dx_TK = dy_TN @ W_NK if ctx.needs_input_grad[0] else None
        gradients: list[Tensor] = []
        for a, (A_RK, B_NR, z_TR) in zip(ctx.adapters, _in_threes(saved), strict=True):
            dy = dy_TN[a.rows, a.columns]
            dz_TR = (dy @ B_NR).mul_(a.scale)
            gradients += [(dz_TR.T @ x_TK[a.rows]).float(), (dy.T @ z_TR).float().mul_(a.scale)]
            if dx_TK is not None:
                dx_TK[a.rows].addmm_(dz_TR, A_RK)
        return dx_TK, None, None, *gradients


def _in_threes(tensors: list[Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    return zip(tensors[0::3], tensors[1::3], tensors[2::3], strict=True)
