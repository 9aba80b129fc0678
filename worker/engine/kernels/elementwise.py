"""Norm and gate with hand-written backward passes, which go over the memory less often than autograd.

Each function has its plain twin beside it. Where C is at hand (`in_c/`), C computes SwiGLU
and the norms of whole rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine.kernels.in_c import elementwise as in_c


def rms_norm(x_TD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Return x / sqrt(mean(x²) + eps) · weight (Zhang & Sennrich 2019, arXiv:1910.07467).

    The weight is frozen, and may be in fp32 beside an x in bf16. Axes before T count as tokens too.
    """
    return _RmsNorm.apply(x_TD, weight_D, eps)


def rms_norm_plainly(x_TD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Return what `rms_norm` must equal, left to autograd."""
    x = x_TD.float()
    n = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return (n.to(x_TD.dtype) * weight_D).to(x_TD.dtype)


@dataclass(frozen=True)
class Activation:
    """A gate's function; `write_gradient(dy, x, out)` writes dy times its derivative at x to out."""

    values: Callable[[Tensor], Tensor]
    write_gradient: Callable[[Tensor, Tensor, Tensor], object]


SILU = Activation(F.silu, lambda dy, x, out: torch.ops.aten.silu_backward.grad_input(dy, x, grad_input=out))
# GELU by its approximation with tanh
GELU = Activation(
    partial(F.gelu, approximate="tanh"),
    lambda dy, x, out: torch.ops.aten.gelu_backward.grad_input(dy, x, approximate="tanh", grad_input=out),
)


def swiglu_values(gate_up_TI: Tensor, activation: Activation = SILU) -> Tensor:
    """Return silu(gate) · up (Shazeer 2020, arXiv:2002.05202), or the same with another `activation`.

    Gate and up lie side by side: [T, 2I] -> [T, I].
    """
    if activation is SILU and (values := in_c.swiglu_values(gate_up_TI)) is not None:
        return values
    gate, up = gate_up_TI.chunk(2, dim=-1)
    return activation.values(gate).mul_(up)


def swiglu_again(dy_TI: Tensor, gate_up_TI: Tensor, activation: Activation = SILU) -> tuple[Tensor, Tensor]:
    """Compute the values again, for the backward pass. Return them, [T, I], and the gradient, [T, 2I].

    The gradient has those of gate and up side by side.
    """
    if activation is SILU and (both := in_c.swiglu_again(dy_TI, gate_up_TI)) is not None:
        return both
    gate, up = gate_up_TI.chunk(2, dim=-1)
    dx_TI = torch.empty_like(gate_up_TI)
    dgate, dup = dx_TI.chunk(2, dim=-1)
    activated_TI = activation.values(gate)
    torch.mul(dy_TI, activated_TI, out=dup)
    activation.write_gradient(dy_TI * up, gate, dgate)
    return activated_TI.mul_(up), dx_TI


@dataclass(frozen=True)
class SwiGlu:
    """SwiGLU's values, as `Values` that a projection computes again in its backward pass."""

    activation: Activation = SILU

    def of(self, gate_up_TI: Tensor) -> Tensor:
        return swiglu_values(gate_up_TI, self.activation)

    def again(self, dx_TK: Tensor, gate_up_TI: Tensor) -> tuple[Tensor, Tensor]:
        return swiglu_again(dx_TK, gate_up_TI, self.activation)


@dataclass(frozen=True)
class LeftToAutograd:
    """Values of any function that a projection computes again. Autograd finds the gradient."""

    function: Callable[[Tensor], Tensor]

    def of(self, kept: Tensor) -> Tensor:
        return self.function(kept)

    def again(self, dx_TK: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            kept = kept.detach().requires_grad_()
            x_TK = self.function(kept)
        (gradient,) = torch.autograd.grad(x_TK, kept, dx_TK)
        return x_TK.detach(), gradient


def swiglu_plainly(gate_up_TI: Tensor, activation: Activation = SILU) -> Tensor:
    """Return what `swiglu_values` and `swiglu_again` must equal, left to autograd."""
    gate, up = gate_up_TI.chunk(2, dim=-1)
    return activation.values(gate) * up


def rms_norm_values(x_TD: Tensor, weight_D: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the norm's values, and 1 / sqrt(mean(x²) + eps) in fp32, [T, 1]."""
    if (both := in_c.rms_norm_values(x_TD, weight_D, eps)) is not None:
        return both
    norm_T1 = torch.linalg.vector_norm(x_TD, dim=-1, keepdim=True, dtype=torch.float32)
    rstd_T1 = norm_T1.square_().div_(x_TD.shape[-1]).add_(eps).rsqrt_()
    return (x_TD * rstd_T1).to(x_TD.dtype).mul_(weight_D), rstd_T1


def rms_norm_gradient(dy_TD: Tensor, x_TD: Tensor, weight_D: Tensor, rstd_T1: Tensor) -> Tensor:
    """Return the gradient of x: with g = dy · weight, dx = rstd g − x rstd³ mean(g x)."""
    if (gradient := in_c.rms_norm_gradient(dy_TD, x_TD, weight_D, rstd_T1)) is not None:
        return gradient
    x, g = x_TD.float(), dy_TD * weight_D.float()
    mean_T1 = torch.linalg.vecdot(g, x).unsqueeze(-1).mul_(rstd_T1.pow(3)).div_(x.shape[-1])
    return (x * mean_T1).neg_().addcmul_(g, rstd_T1).to(x_TD.dtype)


class _RmsNorm(torch.autograd.Function):
    # The weight is not among the saved tensors, because no hook for saved activations may see it.

    @staticmethod
    def forward(ctx, x_TD, weight_D, eps):  # type: ignore[no-untyped-def]
        y_TD, rstd_T1 = rms_norm_values(x_TD, weight_D, eps)
        ctx.weight_D = weight_D
        ctx.save_for_backward(x_TD, rstd_T1)
        return y_TD

    @staticmethod
    def backward(ctx, dy_TD):  # type: ignore[no-untyped-def]
        x_TD, rstd_T1 = ctx.saved_tensors
        return rms_norm_gradient(dy_TD, x_TD, ctx.weight_D, rstd_T1), None, None
