"""The shapes of the projections that an adapter can be put on."""

from torch import nn
from transformers.pytorch_utils import Conv1D

from core.estimates.adapters import ExpertShape, Shapes
from worker.engine.decoders.targets import Groups, adaptable_modules
from worker.engine.decoders.text_decoder import TextDecoder


def projection_shapes(model: nn.Module, groups: Groups) -> Shapes:
    """Return the shapes of the projections that an adapter can be put on."""
    return {name: _shape(model.get_submodule(name)) for name in adaptable_modules(groups)}


def adaptable_shapes(model: nn.Module, decoder: TextDecoder) -> Shapes:
    """Return the shapes of all that an adapter can be put on: projections, and the weights of experts."""
    experts = {name: ExpertShape(E * K, E * N) for name, (E, N, K) in decoder.experts.items()}
    return {**projection_shapes(model, decoder.groups), **experts}


def _shape(layer: nn.Module) -> tuple[int, int]:
    match layer:
        case nn.Linear():
            return layer.in_features, layer.out_features
        case Conv1D():
            return layer.nx, layer.nf
    raise TypeError(f"{type(layer).__name__} is not a linear layer")
