"""The parameters of foreign modules as views of flat tensors.

Autograd then writes the modules' gradients into the flat gradient, which the optimizer reads.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from transformers.trainer_pt_utils import get_parameter_names

from worker.engine.parameters.flat import Extent, FlatParameters, Kept, extents_of

# The names of norms and biases, as in transformers' `Trainer.get_decay_parameter_names`
UNDECAYED = ["bias", "layernorm", "rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]


def flat_views(
    model: nn.Module, trained: Mapping[str, nn.Parameter], dtype: torch.dtype, kept: Kept | None = None
) -> FlatParameters:
    """Return one flat tensor of the parameters of `model` that are trained; the parameters become its parts.

    `dtype` is the type that the modules compute in. Parameters in fp32 become views of the master and of its
    gradient. Others follow the master, and their gradients add up in fp32.
    """
    extents = extents_of(trained)
    numbers = sum(each.numel() for each in trained.values())
    values = torch.empty(numbers, device=next(iter(trained.values())).device)
    for name, parameter in trained.items():
        extents[name].of(values).copy_(parameter.data)
    flat = FlatParameters(values, dtype, extents=extents, kept=kept, undecayed=_undecayed(model, trained))
    for name, parameter in trained.items():
        if parameter.dtype == torch.float32:
            make_view(parameter, extents[name], flat)
        else:
            _make_copy(parameter, extents[name], flat)
    return flat


def _undecayed(model: nn.Module, names: Iterable[str]) -> set[str]:
    """Return those of the names that take no weight decay in transformers' Trainer."""
    return set(names).difference(get_parameter_names(model, [nn.LayerNorm], UNDECAYED))


def make_view(parameter: nn.Parameter, extent: Extent, parameters: FlatParameters) -> None:
    """Make the parameter's values and gradient views of the flat tensors, in fp32."""
    parameter.data = extent.of(parameters.master.detach())
    parameter.grad = extent.of(parameters.gradient)
    parameter.requires_grad_(True)


def _make_copy(parameter: nn.Parameter, extent: Extent, parameters: FlatParameters) -> None:
    """Make the values a view of `low`, in the type that is computed in; the gradient adds up in fp32."""
    parameter.data = extent.of(parameters.low)
    gradient = extent.of(parameters.gradient)

    def add(computed: Tensor) -> None:
        if computed.grad is not None:
            gradient.add_(computed.grad)
        computed.grad = None

    parameter.register_post_accumulate_grad_hook(add)
