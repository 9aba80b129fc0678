"""A causal convolution of each channel over segments.

W is its width. `seen_TW` are the places in x of each token and of those before it in its row, the nearest
first. The length of x stands in the place of one that is not there, as at the beginning of a row.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.activations import ACT2FN

from worker.engine.kernels.in_c import convolution as in_c


def convolve(
    x_TK: Tensor, seen_TW: Tensor, weight_KW: Tensor, bias_K: Tensor | None, activation: str | None
) -> Tensor:
    """Return the convolution with the activation behind it, [T, K]. The plain twin is `convolve_plainly`.

    The last weight is that of the token itself.
    """
    trained = weight_KW.requires_grad or (bias_K is not None and bias_K.requires_grad)
    if trained or activation not in {None, "silu"} or not in_c.can_convolve(x_TK):
        return convolve_plainly(x_TK, seen_TW, weight_KW, bias_K, activation)
    y_TK: Tensor = _InC.apply(x_TK, seen_TW, weight_KW, bias_K, activation is not None)
    return y_TK


def convolve_plainly(
    x_TK: Tensor, seen_TW: Tensor, weight_KW: Tensor, bias_K: Tensor | None, activation: str | None
) -> Tensor:
    """Return the same, left to autograd."""
    x_NK = F.pad(x_TK.float(), (0, 0, 0, 1))
    taps = zip(seen_TW.unbind(1), weight_KW.float().flip(1).unbind(1), strict=True)
    z_TK = sum((x_NK.index_select(0, places_T) * w_K for places_T, w_K in taps), start=torch.zeros(()))
    z_TK = z_TK if bias_K is None else z_TK + bias_K
    return (z_TK if activation is None else ACT2FN[activation](z_TK)).to(x_TK.dtype)


class _InC(torch.autograd.Function):
    # Frozen weights are not among the saved tensors, because no hook for saved activations may see them.

    @staticmethod
    def forward(ctx, x_TK, seen_TW, *others):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x_TK)
        ctx.given = seen_TW, *others
        return in_c.convolved(x_TK, seen_TW, *others)

    @staticmethod
    def backward(ctx, dy_TK):  # type: ignore[no-untyped-def]
        (x_TK,) = ctx.saved_tensors
        return in_c.gradient(dy_TK, x_TK, *ctx.given), None, None, None, None
