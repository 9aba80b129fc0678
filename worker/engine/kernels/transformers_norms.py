"""transformers' norms in one pass over the memory, inside of `attending_in`.

A class of norms that computes a formula that is known here gets another `forward`. Everywhere else, and where
its weight trains, it computes as before.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.engine.kernels.elementwise import rms_norm, rms_norm_plainly
from worker.engine.kernels.in_c import elementwise as in_c
from worker.engine.kernels.transformers_attention import current_layout

Factor = Callable[[Tensor], Tensor]
FACTORS: tuple[Factor, ...] = (lambda weight: weight, lambda weight: 1 + weight)
"""What norms multiply with, by their weight."""

ALIKE = {torch.float32: 1e-5, torch.bfloat16: 0.01}
"""The largest difference between two results of one formula, as a part of one."""


def take_norms(model: nn.Module) -> None:
    """Let the model's norms compute in one pass inside of `attending_in`, if they have a known formula."""
    for kind, module in {type(module): module for module in model.modules()}.items():
        if not hasattr(kind.forward, "own") and (factor := _factor(module)) is not None:
            kind.forward = _led(kind.forward, factor)


def _factor(module: Any) -> Factor | None:
    """Return the factor with which a formula computes the same as the module; None if none does."""
    eps, weights = _eps(module), dict(module.named_parameters())
    if weights.keys() != {"weight"} or weights["weight"].dim() != 1 or not isinstance(eps, float):
        return None
    if type(weights["weight"]) is not nn.Parameter:
        return None  # a sharded one is whole only within the model's own forward pass
    weight_D, random = weights["weight"].detach(), torch.Generator().manual_seed(0)
    options = inspect.signature(module.forward).parameters.values()
    needed = [x for x in options if x.default is x.empty and x.kind is x.POSITIONAL_OR_KEYWORD]
    inputs = [torch.randn(3, len(weight_D), generator=random).to(weight_D) for _ in needed]
    if len(inputs) not in {1, 2}:
        return None
    with torch.no_grad():
        expected = module(*inputs)
        for factor in FACTORS:
            found = _plainly(factor(weight_D), eps, *inputs)
            if float((found - expected).norm()) <= ALIKE.get(weight_D.dtype, 0) * float(expected.norm()):
                return factor
    return None


def _eps(module: Any) -> Any:
    return getattr(module, "variance_epsilon", getattr(module, "eps", None))


def _plainly(weight_D: Tensor, eps: float, x_TD: Tensor, gate_TD: Tensor | None = None) -> Tensor:
    normed_TD = rms_norm_plainly(x_TD, weight_D, eps)
    return normed_TD if gate_TD is None else normed_TD * F.silu(gate_TD)


def _led(own: Callable[..., Tensor], factor: Factor) -> Callable[..., Tensor]:
    def forward(self: Any, x: Tensor, *gate: Tensor, **options: Any) -> Tensor:
        weight_D = self._parameters.get("weight")
        frozen = weight_D is not None and not weight_D.requires_grad and x.device.type == "cpu"
        if options or not frozen or current_layout() is None:
            return own(self, x, *gate, **options)
        weight_D, rows = factor(weight_D), [each.reshape(-1, each.shape[-1]) for each in (x, *gate)]
        if not gate:
            return rms_norm(rows[0], weight_D, _eps(self)).view(x.shape)
        if not in_c.can_gate(*rows):
            return own(self, x, *gate)
        y_TD: Tensor = _GatedNorm.apply(*rows, weight_D, _eps(self))
        return y_TD.view(x.shape)

    forward.own = own  # type: ignore[attr-defined]
    return forward


class _GatedNorm(torch.autograd.Function):
    # The weight is not among the saved tensors, because no hook for saved activations may see it.

    @staticmethod
    def forward(ctx, x_TD, gate_TD, weight_D, eps):  # type: ignore[no-untyped-def]
        y_TD, rstd_T1 = in_c.gated_norm_values(x_TD, gate_TD, weight_D, eps)
        ctx.weight_D = weight_D
        ctx.save_for_backward(x_TD, gate_TD, rstd_T1)
        return y_TD

    @staticmethod
    def backward(ctx, dy_TD):  # type: ignore[no-untyped-def]
        x_TD, gate_TD, rstd_T1 = ctx.saved_tensors
        gradients = in_c.gated_norm_gradient(dy_TD.contiguous(), x_TD, gate_TD, ctx.weight_D, rstd_T1)
        return *gradients, None, None
