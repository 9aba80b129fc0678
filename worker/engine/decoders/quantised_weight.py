"""The weight of projections that are held in 4 or 8 bits, as a frozen weight of the fast path."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from worker.engine.decoders.layer_weight import int8_weight_of
from worker.engine.decoders.weight_parts import parts_of
from worker.engine.kernels.int8.weight import LARGEST, Int8Weight


class QuantisedWeight:
    """Layers that read the same input, with their outputs side by side, in whatever form they are held.

    A product makes a part of a layer's matrix at a time and gives it up again, so that the memory never grows
    by more than one part for each lane. All layers are the model's own.
    """

    def __init__(self, layers: Sequence[Any], columns: Sequence[slice], bias_N: Tensor | None) -> None:
        self.layers, self.columns = layers, columns
        self.bias_N = bias_N
        self.shape: tuple[int, int] = columns[-1].stop, layers[0].in_features

    def in_8_bits(self) -> Int8Weight | None:
        """Return a weight that multiplies the layers' own 8 bits; None if one of them is not held in 8 bits.

        The layers' numbers become parts of one tensor, so that they are in memory once.
        """
        held = [found for layer in self.layers if (found := int8_weight_of(layer)) is not None]
        if len(held) < len(self.layers):
            return None
        int8_NK = torch.cat([each_NK for each_NK, _ in held])
        for layer, columns in zip(self.layers, self.columns, strict=True):
            layer.weight.data = layer.state.CB = int8_NK[columns]
        return Int8Weight.of_int8(
            int8_NK, torch.cat([absmax_N for _, absmax_N in held]) / LARGEST, self.bias_N
        )

    def forward(self, x_TK: Tensor) -> Tensor:
        y_TN = x_TK.new_empty(len(x_TK), self.shape[0])
        for layer, columns in zip(self.layers, self.columns, strict=True):
            for rows, W_NK in parts_of(layer, x_TK.dtype, axis=0):
                torch.mm(x_TK, W_NK.T, out=y_TN[:, columns][:, rows])
        return y_TN if self.bias_N is None else y_TN.add_(self.bias_N)

    def backward(self, dy_TN: Tensor) -> Tensor:
        dx_TK = dy_TN.new_zeros(len(dy_TN), self.shape[1])
        for layer, columns in zip(self.layers, self.columns, strict=True):
            for inputs, W_NK in parts_of(layer, dy_TN.dtype, axis=1):
                dx_TK[:, inputs].addmm_(dy_TN[:, columns], W_NK)
        return dx_TK
