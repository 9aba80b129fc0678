"""The frozen projections of one input, merged into one weight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.decoders.quantised_weight import QuantisedWeight
from worker.engine.kernels.frozen_weight import DenseWeight, FrozenWeight


@dataclass(frozen=True)
class MergedProjections:
    """Projections of one input, merged into one weight; `columns` are the outputs of each, by module name."""

    weight: FrozenWeight
    columns: Mapping[str, slice]

    @classmethod
    def of(cls, model: nn.Module, names: Sequence[str]) -> "MergedProjections":
        """Merge the modules that have these names."""
        layers: list[Any] = [model.get_submodule(name) for name in names]
        columns, start = [], 0
        for layer in layers:
            columns.append(slice(start, start + layer.out_features))
            start += layer.out_features
        bias_N = _merged_bias(layers)
        if all(layer.weight.is_floating_point() for layer in layers):
            weight: FrozenWeight = DenseWeight(_merged_matrix(layers, columns), bias_N)
        else:
            weight = QuantisedWeight(layers, columns, bias_N)
        return cls(weight, dict(zip(names, columns, strict=True)))


def _merged_matrix(layers: Sequence[Any], columns: Sequence[slice]) -> Tensor:
    """Return the layers' weights as one matrix; the model's own parameters become views of it."""
    # The matrix lies in memory as [K, N], because its product with the gradient is then faster on a CPU
    merged_NK = layers[0].weight.data.new_empty(layers[0].in_features, columns[-1].stop).T
    for layer, rows in zip(layers, columns, strict=True):
        merged_NK[rows] = layer.weight.data
        layer.weight.data = merged_NK[rows]
    return merged_NK


def _merged_bias(layers: Sequence[Any]) -> Tensor | None:
    """Return the biases side by side, 0 for a layer without one; None if no layer has one."""
    some = next((layer.bias for layer in layers if layer.bias is not None), None)
    if some is None:
        return None
    return torch.cat(
        [some.new_zeros(each.out_features) if each.bias is None else each.bias for each in layers]
    )
