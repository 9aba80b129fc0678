"""The forms in which the step in C reads a weight (`weights.h`): as it is, in 8 bits, or in nf4."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.estimates.workspace import NF4_BLOCK
from worker.engine.decoders.layer_weight import int8_weight_of
from worker.engine.decoders.quantised_weight import QuantisedWeight
from worker.engine.kernels.frozen_weight import DenseWeight, FrozenWeight

PROJECTIONS = 3  # the most projections of a group
FIELDS = 9  # of a `Rows`
AS_T, INT8, NF4 = range(3)
SCALES_BLOCK = 256  # scales of nf4 with one scale of their own
# The types of the tensors in a `Rows` behind its numbers
OF_FORMS = torch.float32, torch.float32, torch.uint8, torch.float32, torch.float32, torch.float32


@dataclass(frozen=True)
class Held:
    """A weight as C reads it: the fields of a structure, and the tensors of which it has the addresses."""

    fields: Sequence[int]
    tensors: Sequence[Tensor | None]


def held(weight: FrozenWeight, dtype: torch.dtype) -> Held | None:
    """Return a `Weight`, or None if the step in C has no form for it."""
    if not _lie([weight.bias_N], [dtype]):
        return None
    if isinstance(weight, DenseWeight):
        W_KN, bias_N = weight.weight_NK.T, weight.bias_N
        fields = [address(W_KN), address(bias_N), *[0] * (FIELDS * PROJECTIONS)]
        return Held(fields, [W_KN, bias_N]) if _lie([W_KN], [dtype]) else None
    if not isinstance(weight, QuantisedWeight):
        return None
    fields, kept = [0, address(weight.bias_N)], [weight.bias_N]
    for layer, columns in zip(weight.layers, weight.columns, strict=True):
        if (rows := held_rows(layer, dtype, columns.stop)) is None:
            return None
        fields += rows.fields
        kept += rows.tensors
    return Held([*fields, *[0] * (2 + FIELDS * PROJECTIONS - len(fields))], kept)


def held_words(layer: Any, dtype: torch.dtype) -> Held | None:
    """Return the `Rows` of an embedding or a head, or None if C has no form for them, as for nf4."""
    rows = held_rows(layer, dtype)
    return None if rows is None or rows.fields[1] == NF4 else rows


def held_rows(layer: Any, dtype: torch.dtype, last: int = 0) -> Held | None:
    """Return the `Rows` of a layer, or None if the step in C has no form for them.

    `last` is the column behind the layer's own in its group.
    """
    form, numbers, number_type = AS_T, layer.weight.data, dtype
    of_form: list[Tensor | None] = [None] * len(OF_FORMS)
    if (state := getattr(layer.weight, "quant_state", None)) is not None:
        if not (state.quant_type == "nf4" and state.nested):
            return None
        scales = state.state2
        if (state.blocksize, scales.blocksize) != (NF4_BLOCK, SCALES_BLOCK):
            return None
        form, number_type = NF4, torch.uint8
        of_form = [None, state.code, state.absmax, scales.code, scales.absmax, state.offset]
    elif (int8_weight := int8_weight_of(layer)) is not None:
        form, number_type = INT8, torch.int8
        numbers, of_form[0] = int8_weight
    tensors = [numbers, *of_form]
    return (
        Held([last, form, *map(address, tensors)], tensors)
        if _lie(tensors, [number_type, *OF_FORMS])
        else None
    )


def _lie(tensors: Sequence[Tensor | None], types: Sequence[torch.dtype]) -> bool:
    """Return whether all tensors have these types, and their numbers lie one behind the other."""
    return all(
        tensor is None or (tensor.dtype == dtype and tensor.is_contiguous())
        for tensor, dtype in zip(tensors, types, strict=True)
    )


def address(tensor: Tensor | None) -> int:
    """Return where a contiguous tensor's numbers lie; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()
