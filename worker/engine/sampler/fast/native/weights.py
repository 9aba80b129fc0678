"""The forms in which the step in C reads a weight (`weights.h`): as it is, in 8 bits, or in nf4."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.engine.decoders.layer_weight import int8_weight_of
from worker.engine.decoders.quantised_weight import QuantisedWeight
from worker.engine.kernels.frozen_weight import DenseWeight, FrozenWeight

PROJECTIONS = 3  # the most projections of a group
FIELDS = 9  # of a `Rows`
AS_T, INT8, NF4 = range(3)
BLOCK, SCALES_BLOCK = 64, 256  # numbers with one scale, and scales with one of their own


@dataclass(frozen=True)
class Held:
    """A weight as C reads it: the fields of a structure, and the tensors of which it has the addresses."""

    fields: Sequence[int]
    tensors: Sequence[Tensor | None]


def held(weight: FrozenWeight, dtype: torch.dtype) -> Held | None:
    """Return a `Weight`, or None if the step in C has no form for it."""
    if isinstance(weight, DenseWeight):
        tensors = weight.weight_NK, weight.bias_N
        return Held([*map(address, tensors), *[0] * (FIELDS * PROJECTIONS)], tensors)
    if not isinstance(weight, QuantisedWeight):
        return None
    fields, kept = [0, address(weight.bias_N)], [weight.bias_N]
    for layer, columns in zip(weight.layers, weight.columns, strict=True):
        if (rows := held_rows(layer, dtype, columns.stop)) is None:
            return None
        fields += rows.fields
        kept += rows.tensors
    return Held([*fields, *[0] * (2 + FIELDS * PROJECTIONS - len(fields))], kept)


def held_rows(layer: Any, dtype: torch.dtype, last: int = 0) -> Held | None:
    """Return the `Rows` of a layer, or None if the step in C has no form for them.

    `last` is the column behind the layer's own in its group.
    """
    form, numbers = AS_T, layer.weight.data
    of_form: list[Tensor | None] = [None] * 6
    if (state := getattr(layer.weight, "quant_state", None)) is not None:
        if not (state.quant_type == "nf4" and state.nested and numbers.dtype == torch.uint8):
            return None
        scales = state.state2
        form, of_form = NF4, [None, state.code, state.absmax, scales.code, scales.absmax, state.offset]
        fits = (state.blocksize, scales.blocksize) == (BLOCK, SCALES_BLOCK)
    elif (int8_weight := int8_weight_of(layer)) is not None:
        form, (numbers, largest_N) = INT8, int8_weight
        of_form[0] = largest_N
        fits = largest_N.dtype == torch.float32
    else:
        fits = numbers.dtype == dtype
    if not (fits and numbers.is_contiguous()):
        return None
    tensors = [numbers, *of_form]
    return Held([last, form, *map(address, tensors)], tensors)


def address(tensor: Tensor | None) -> int:
    """Return where a contiguous tensor's numbers lie; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()
