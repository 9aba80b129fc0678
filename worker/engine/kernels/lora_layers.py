"""Low-rank updates of a model's own linear layers, in place, and of its experts (`experts/layer.py`).

    y = base(x) + s (x Aᵀ) Bᵀ        (Hu et al. 2021, arXiv:2106.09685)

The base layer may be of any class, have a bias, or be quantised. Each adapter works on its own tokens. The
factors' gradients are added in place, as in `projection.py`. A dense frozen layer is a projection there.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.kernels.experts.modules import is_experts, with_updates
from worker.engine.kernels.forwards import with_forwards
from worker.engine.kernels.frozen_weight import DenseWeight, FrozenWeight
from worker.engine.kernels.projection import Share, add_gradients, add_updates, apply_gains, through_gains

AddLowRank = Callable[[Tensor, Tensor, Sequence[Share]], Tensor]
Project = Callable[[Tensor, FrozenWeight, Sequence[Share]], Tensor]


def adapted(
    model: nn.Module, shares: Mapping[str, Sequence[Share]], add: AddLowRank, project: Project | None
) -> AbstractContextManager[None]:
    """Let layers and experts add the updates of their shares to their outputs inside.

    Shares are given by the names of layers, and of experts' weights. `add` and `project` compute as
    `add_low_rank` and `projection.project` do. A sharded model has no `project`: its weights are whole in a
    layer's own forward only, where a layer that is computed again would find them.
    """
    forwards: dict[nn.Module, Callable[..., Tensor]] = {}
    of_experts: dict[nn.Module, dict[str, Sequence[Share]]] = {}
    for name, found in shares.items():
        parent, _, last = name.rpartition(".")
        owner = model.get_submodule(parent)
        if is_experts(owner):
            of_experts.setdefault(owner, {})[last] = found
        else:
            layer = getattr(owner, last)
            if project is not None and _is_dense(layer, found):
                forwards[layer] = partial(_projected, layer, found, project)
            else:
                forwards[layer] = partial(_forward, layer.forward, found, add)
    return with_forwards(forwards | {each: with_updates(each, found) for each, found in of_experts.items()})


def _is_dense(layer: Any, shares: Sequence[Share]) -> bool:
    """Return whether the layer is a product with a frozen matrix in memory, in the type of the factors."""
    return (
        type(layer) is nn.Linear
        and type(layer.weight) is nn.Parameter
        and not any(parameter.requires_grad for parameter in layer.parameters())
        and all(share.low_rank.A_RK.dtype == layer.weight.dtype for share in shares)
    )


def _projected(layer: Any, shares: Sequence[Share], project: Project, x: Tensor) -> Tensor:
    y_TN = project(x.reshape(-1, x.shape[-1]), DenseWeight(layer.weight, layer.bias), shares)
    return y_TN.view(*x.shape[:-1], -1)


def _forward(
    forward: Callable[..., Tensor],
    shares: Sequence[Share],
    add: AddLowRank,
    x: Tensor,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    return add(forward(x, *args, **kwargs), x, shares)


def add_low_rank(y_TN: Tensor, x_TK: Tensor, shares: Sequence[Share]) -> Tensor:
    """Return y plus each adapter's update of its tokens, times the adapter's gain; may change y.

    Axes before T count as tokens too. The plain twin is `projection.add_low_rank_plainly`.
    """
    return _AddLowRank.apply(y_TN, x_TK, shares, *(share.low_rank.parameters.master for share in shares))


class _AddLowRank(torch.autograd.Function):
    # The masters are inputs only so that autograd calls `backward`; it adds to their gradients itself.

    @staticmethod
    def forward(ctx, y, x, shares, *_masters):  # type: ignore[no-untyped-def]
        out = y
        if y._is_view() or not y.is_contiguous():
            out = y.clone(memory_format=torch.contiguous_format)  # autograd forbids to change a view here
        else:
            ctx.mark_dirty(y)
        ctx.x_shape, ctx.x_dtype, ctx.shares = x.shape, x.dtype, shares
        x_TK = x.reshape(-1, x.shape[-1]).to(shares[0].low_rank.A_RK.dtype)
        out_TN = out.view(-1, out.shape[-1])
        products = add_updates(out_TN, x_TK, shares)
        gained = None if apply_gains(out_TN, shares) is None else out
        ctx.save_for_backward(x_TK, gained, *products)
        return out

    @staticmethod
    def backward(ctx, dout):  # type: ignore[no-untyped-def]
        x_TK, gained, *products = ctx.saved_tensors
        if gained is not None:
            gained_TN = gained.view(-1, gained.shape[-1])
            dout = through_gains(dout.reshape(gained_TN.shape), gained_TN, ctx.shares).view(dout.shape)
        dy_TN = dout.reshape(-1, dout.shape[-1]).to(x_TK.dtype)
        dx_TK = torch.zeros_like(x_TK) if ctx.needs_input_grad[1] else None
        for share, dz_TR in zip(ctx.shares, add_gradients(dy_TN, dx_TK, ctx.shares, products), strict=True):
            share.low_rank.dA_RK.add_(share.outer(dz_TR, x_TK))
        dx = None if dx_TK is None else dx_TK.to(ctx.x_dtype).view(ctx.x_shape)
        return dout, dx, None, *(None for _ in ctx.shares)
