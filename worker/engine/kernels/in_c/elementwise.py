"""Calls norm and gate in C (`elementwise.c`). A function returns None where C cannot compute it."""

from ctypes import CDLL, c_float

import torch
from torch import Tensor

from worker.engine.kernels.in_c.calls import integers, kernel, pointers, threads

LANES = 16  # numbers of a vector


def swiglu_values(gate_up_TI: Tensor) -> Tensor | None:
    """Return silu(gate) · up, [T, I], of gate and up side by side, [T, 2I]."""
    if (built := _built(gate_up_TI)) is None:
        return None
    y_TI = gate_up_TI.new_empty(len(gate_up_TI), gate_up_TI.shape[1] // 2)
    built.swiglu_values(*pointers(gate_up_TI), *integers(y_TI.shape), *pointers(y_TI), threads())
    return y_TI


def swiglu_again(dy_TI: Tensor, gate_up_TI: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the values again, [T, I], and the gradients of gate and up side by side, [T, 2I]."""
    if (built := _built(dy_TI, gate_up_TI)) is None:
        return None
    y_TI, dx_TI = torch.empty_like(dy_TI), torch.empty_like(gate_up_TI)
    built.swiglu_again(
        *pointers(dy_TI, gate_up_TI), *integers(dy_TI.shape), *pointers(y_TI, dx_TI), threads()
    )
    return y_TI, dx_TI


def rms_norm_values(x_TD: Tensor, weight_D: Tensor, eps: float) -> tuple[Tensor, Tensor] | None:
    """Return the norm's values, and 1 / sqrt(mean(x²) + eps) in fp32, [T, 1]."""
    if weight_D.dim() != 1 or (built := _built(x_TD)) is None:
        return None
    weight_D = weight_D.float().contiguous()
    y_TD, rstd_T1 = torch.empty_like(x_TD), torch.empty(len(x_TD), 1, dtype=torch.float32)
    built.rms_norm_values(
        *pointers(x_TD, weight_D), c_float(eps), *integers(x_TD.shape), *pointers(y_TD, rstd_T1), threads()
    )
    return y_TD, rstd_T1


def rms_norm_gradient(dy_TD: Tensor, x_TD: Tensor, weight_D: Tensor, rstd_T1: Tensor) -> Tensor | None:
    """Return the gradient of x."""
    if weight_D.dim() != 1 or (built := _built(dy_TD, x_TD)) is None:
        return None
    weight_D = weight_D.float().contiguous()
    dx_TD = torch.empty_like(x_TD)
    built.rms_norm_gradient(
        *pointers(dy_TD, x_TD, weight_D, rstd_T1), *integers(x_TD.shape), *pointers(dx_TD), threads()
    )
    return dx_TD


def can_gate(x_TD: Tensor, gate_TD: Tensor) -> bool:
    """Return whether C computes a gated norm of these."""
    return x_TD.shape[1] % LANES == 0 and _built(x_TD, gate_TD) is not None


def gated_norm_values(x_TD: Tensor, gate_TD: Tensor, weight_D: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return norm(x) · weight · silu(gate), and 1 / sqrt(mean(x²) + eps) in fp32, [T, 1]."""
    weight_D = weight_D.float().contiguous()
    y_TD, rstd_T1 = torch.empty_like(x_TD), torch.empty(len(x_TD), 1, dtype=torch.float32)
    given, sizes = pointers(x_TD, gate_TD, weight_D), integers(x_TD.shape)
    _sure(x_TD).gated_norm_values(*given, c_float(eps), *sizes, *pointers(y_TD, rstd_T1), threads())
    return y_TD, rstd_T1


def gated_norm_gradient(
    dy_TD: Tensor, x_TD: Tensor, gate_TD: Tensor, weight_D: Tensor, rstd_T1: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and of the gate."""
    weight_D = weight_D.float().contiguous()
    dx_TD, dgate_TD = torch.empty_like(x_TD), torch.empty_like(gate_TD)
    given, sizes = pointers(dy_TD, x_TD, gate_TD, weight_D, rstd_T1), integers(x_TD.shape)
    _sure(x_TD).gated_norm_gradient(*given, *sizes, *pointers(dx_TD, dgate_TD), threads())
    return dx_TD, dgate_TD


def _sure(x_TD: Tensor) -> CDLL:
    built = _built(x_TD)
    assert built is not None
    return built


def _built(*tensors: Tensor) -> CDLL | None:
    whole = all(x.dim() == 2 and x.is_contiguous() for x in tensors)
    return kernel("elementwise", *tensors) if whole else None
