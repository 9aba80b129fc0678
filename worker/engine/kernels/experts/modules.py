"""Experts as a function that transformers calls in the place of its own, and as layers that jobs adapt.

transformers keeps the weights of all experts of a layer in two parameters with three dimensions, and says by
flags of the module how they are laid out (`transformers.integrations.moe`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeGuard, cast

from torch import Tensor, nn
from transformers.activations import GELUTanh, SiLUActivation
from transformers.integrations.moe import (
    ExpertsInterface,
    _default_apply_gate,
    grouped_mm_experts_forward,
)

from worker.engine.kernels.elementwise import GELU, SILU, LeftToAutograd, SwiGlu
from worker.engine.kernels.experts.grouped import can_group, compute_in_groups
from worker.engine.kernels.experts.layer import (
    DenseExperts,
    ExpertUpdate,
    ExpertWeights,
    Layer,
    Projection,
    compute_experts,
)
from worker.engine.kernels.projection import Share, Values

NAME = "tunery_experts"
DOWN = "down_proj"
ACTIVATIONS = {nn.SiLU: SILU, SiLUActivation: SILU, GELUTanh: GELU}
QUANTISED = "quantised_experts"
"""The attribute of a module that holds its weights in 4 or 8 bits, by the names of the parameters."""

Updates = Mapping[str, Sequence[ExpertUpdate]]
"""The updates of one module, by the name of the parameter."""


def is_experts(module: nn.Module) -> TypeGuard[Any]:
    """Return whether the module is one of transformers' layers of experts, which can be computed here."""
    return getattr(module, "has_post_expert_norm", None) is False and all(
        isinstance(getattr(module, name, None), Tensor) for name in parameter_names(module)
    )


def experts_in(model: nn.Module) -> dict[str, Any]:
    """Return the layers of experts, by name."""
    return {name: module for name, module in model.named_modules() if is_experts(module)}


def parameter_names(experts: Any) -> tuple[str, str]:
    """Return the names of the weights of `up` and of `down`."""
    return "gate_up_proj" if experts.has_gate else "up_proj", DOWN


def weights_of(experts: Any, name: str) -> ExpertWeights:
    """Return the frozen weights of one projection, in whatever form the module holds them."""
    held: Mapping[str, Any] = getattr(experts, QUANTISED, {})
    bias = getattr(experts, f"{name}_bias") if experts.has_bias else None
    if name in held:
        return cast(ExpertWeights, replace(held[name], bias_EN=bias))
    return DenseExperts(getattr(experts, name), bias, experts.is_transposed)


def forward(
    experts: Any,
    hidden_states: Tensor,
    top_k_index: Tensor,
    top_k_weights: Tensor,
    updates: Updates | None = None,
    masters: Sequence[Tensor] = (),
) -> Tensor:
    """Compute a module's experts for transformers: [T, D] and each token's experts and weights -> [T, D].

    Weights that are trained themselves are left to transformers, since this function gives them no gradient.
    """
    names = parameter_names(experts)
    if any(getattr(experts, name).requires_grad for name in names):
        computed: Tensor = grouped_mm_experts_forward(experts, hidden_states, top_k_index, top_k_weights)
        return computed
    up, down = (Projection(weights_of(experts, name), (updates or {}).get(name, ())) for name in names)
    layer = Layer(up, down, _gate_of(experts))
    compute = compute_in_groups if can_group(hidden_states, layer) else compute_experts
    return compute(hidden_states, top_k_index, top_k_weights, layer, masters)


def _gate_of(experts: Any) -> Values:
    """Return what makes the inputs of `down`; autograd finds the gradient of what is not SwiGLU."""
    if not experts.has_gate:
        return LeftToAutograd(experts.act_fn)
    is_usual = type(experts)._apply_gate is _default_apply_gate
    if is_usual and (activation := ACTIVATIONS.get(type(experts.act_fn))):
        return SwiGlu(activation)
    return LeftToAutograd(experts._apply_gate)


def with_updates(experts: Any, shares: Mapping[str, Sequence[Share]]) -> Callable[..., Tensor]:
    """Return the module's `forward` with the updates of these shares, given by the weights' names."""
    updates = {
        name: [ExpertUpdate.of(share, len(getattr(experts, name))) for share in found]
        for name, found in shares.items()
    }
    masters = [share.low_rank.parameters.master for found in shares.values() for share in found]
    return partial(forward, experts, updates=updates, masters=masters)


ExpertsInterface.register(NAME, forward)
