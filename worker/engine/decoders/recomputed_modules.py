"""Modules of transformers that keep only their input for the backward pass, which computes them again."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from core.estimates.memory_plan import Recompute
from worker.engine.kernels.forwards import with_forwards
from worker.engine.kernels.recomputation import keeping_inputs, recomputed

CACHES = ("cache", "layer_past", "past_key_values")  # architectures' names of a layer's argument
MLP = "mlp"  # most architectures' name of a layer's module with gate and up

Surroundings = Callable[[str], AbstractContextManager[Any]]
"""By a module's name with a dot, the context to compute it in again, after the forward pass has ended."""


def recomputing(
    model: nn.Module, body: nn.Module, recompute: Recompute, surroundings: Surroundings
) -> AbstractContextManager[None]:
    """Let the body's layers, or their MLPs, keep only their inputs inside, except for the last layer's.

    Not the modules are wrapped, but their `forward`. So hooks of sharded layers run once in the forward and
    once in the backward pass, as they do without recomputation.
    """
    if recompute is Recompute.NONE or not torch.is_grad_enabled():
        return nullcontext()
    modules, keeping = _modules(model, body, recompute), keeping_inputs(recompute)
    return with_forwards(
        {
            module: partial(_forward, module.forward, surroundings, name, keeping)
            for name, module in modules.items()
        }
    )


def _modules(model: nn.Module, body: nn.Module, recompute: Recompute) -> Mapping[str, nn.Module]:
    """Return what is computed again, by the names in the model."""
    inside = set(body.modules())
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, GradientCheckpointingLayer) and module in inside
    }
    kept = list(layers.items())[:-1]
    if recompute is Recompute.GATE_UP:
        return {f"{name}.{MLP}": getattr(layer, MLP) for name, layer in kept if hasattr(layer, MLP)}
    return dict(kept)


def _forward(
    forward: Callable[..., Any],
    surroundings: Surroundings,
    name: str,
    keeping: AbstractContextManager[Any],
    x: Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    has_cache = any(isinstance(one, Cache) for one in args)
    if has_cache or any(kwargs.get(name) is not None for name in CACHES):  # a layer adds to it each time
        return forward(x, *args, **kwargs)

    def compute(x: Tensor, again: bool) -> Any:
        with surroundings(f"{name}.") if again else nullcontext():
            return forward(x, *args, **kwargs)

    with keeping:
        return recomputed(compute, x)
