"""Adapters that PEFT puts on parameters instead of layers, as modules that compute with the factors.

PEFT makes the whole changed weights of all experts for each call, inside of the base model's own modules.
On the slow path a copy of such a module adds the low-rank update, and the base model stays as it is for
others.
"""

import copy
from collections.abc import Iterable
from functools import partial
from typing import Any

from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor, nn

from core.methods.targets import is_target
from worker.engine.adapters.saving import PEFT_NAME
from worker.engine.kernels.experts.layer import ExpertUpdate
from worker.engine.kernels.experts.modules import forward, is_experts, parameter_names
from worker.engine.sampler.adapters.check import AdapterRefused


def layers_of_experts(weights: Iterable[str], target_parameters: list[str]) -> dict[str, str]:
    """Return those of the experts' weights that are targets, by the names of PEFT's layers around them.

    PEFT puts one layer around another for each weight of a module. That of the last weight is outermost.
    """
    found: dict[str, str] = {}
    for name in reversed([*weights]):
        if is_target(name, target_parameters):
            layer = name.rpartition(".")[0]
            while layer in found:
                layer += ".base_layer"
            found[layer] = name
    return found


def compute_with_factors(tree: nn.Module) -> None:
    """Replace PEFT's layers around parameters in this tree. Raises AdapterRefused for other parameters."""
    for name, parent in list(tree.named_modules()):
        for child, layer in list(parent.named_children()):
            if isinstance(layer, ParamWrapper) and not isinstance(parent, ParamWrapper):
                parent._modules[child] = _with_factors(f"{name}.{child}", layer)


def _with_factors(name: str, layer: Any) -> nn.Module:
    """Return a copy of the module inside of PEFT's layers, which adds their updates."""
    inside = layer.get_base_layer()
    own: Any = copy.copy(inside)
    if is_experts(inside):
        updates = {}
        while isinstance(layer, ParamWrapper):
            if layer.parameter_name not in parameter_names(inside):
                raise AdapterRefused(f"The adapter changes the parameter {layer.parameter_name} of {name}.")
            updates[layer.parameter_name] = [_update(layer)]
            layer = layer.base_layer
        own.forward = partial(forward, inside, updates=updates)
    elif isinstance(inside, nn.Linear) and layer.parameter_name == "weight":
        own.forward = partial(_linear, inside, _update(layer))
    else:
        raise AdapterRefused(f"The adapter changes the parameter {layer.parameter_name} of {name}.")
    return own


def _update(layer: Any) -> ExpertUpdate:
    dtype = layer.get_param().dtype  # PEFT may hold factors in fp32
    A, B = (each[PEFT_NAME].weight.detach().to(dtype) for each in (layer.lora_A, layer.lora_B))
    return ExpertUpdate.frozen(A, B, layer.num_experts, float(layer.scaling[PEFT_NAME]))


def _linear(linear: Any, update: ExpertUpdate, x: Tensor) -> Tensor:
    A_RK, B_NR = update.A_ERK[0], update.B_NRE[..., 0]
    y: Tensor = linear(x)
    return y + update.scale * (x @ A_RK.T @ B_NR.T).to(y.dtype)
