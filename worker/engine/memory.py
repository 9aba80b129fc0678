"""How much memory an adapter takes while it trains, known before it is attached."""

from collections.abc import Mapping

import torch
from peft.utils.other import get_pattern_key
from torch import nn
from transformers.pytorch_utils import Conv1D

from core.jobspec import LoraAdapter
from worker.engine.targets import Groups, adaptable, is_target

OPTIMIZED_BYTES = 4 * 3  # fp32: the parameter, AdamW's two moments
GRADIENT_BYTES = 4  # fp32, for each lane
FACTOR_BYTES = 4  # fp32, where they are not the parameters themselves
FIRST_BYTES = 4  # fp32: what PiSSA and OLoRA began with

Shapes = Mapping[str, tuple[int, int]]
"""(inputs K, outputs N) of a model's projections, by module name."""


def projection_shapes(model: nn.Module, groups: Groups) -> Shapes:
    """Of those that an adapter can be put on."""
    return {name: _shape(model.get_submodule(name)) for name in adaptable(groups)}


def _shape(layer: nn.Module) -> tuple[int, int]:
    match layer:
        case nn.Linear():
            return layer.in_features, layer.out_features
        case Conv1D():
            return layer.nx, layer.nf
    raise TypeError(f"{type(layer).__name__} is no linear layer")


def state_bytes(shapes: Shapes, adapter: LoraAdapter, dtype: torch.dtype, lanes: int) -> int:
    """Bytes of an adapter's parameters, gradients and moments on a base that computes in `dtype` in `lanes`.

        P = Σ r (K + N)   over the adapted projections: A is [r, K], B is [N, r]
        bytes = (12 + 4 lanes) P, and dtype's size times P for the copy that is computed with, unless dtype is
        fp32

    PiSSA and OLoRA compute with F = 2 P factors, made in fp32 and copied in dtype, and keep what they began
    with: 20 P and (4 + 4 lanes + dtype's size) F.

    Activations do not count: micro-batches bound them by tokens, however many jobs share a round.
    """
    adapted = [name for name in shapes if is_target(name, adapter.target_modules)]
    parameters = sum(_rank(name, adapter) * sum(shapes[name]) for name in adapted)
    if adapter.begins_with_weights:
        of_factors = FACTOR_BYTES + GRADIENT_BYTES * lanes + dtype.itemsize
        return parameters * (OPTIMIZED_BYTES + GRADIENT_BYTES + FIRST_BYTES + 2 * of_factors)
    copy = 0 if dtype == torch.float32 else dtype.itemsize
    return parameters * (OPTIMIZED_BYTES + GRADIENT_BYTES * lanes + copy)


def _rank(name: str, adapter: LoraAdapter) -> int:
    ranks = adapter.rank_pattern
    return ranks.get(get_pattern_key(list(ranks), name), adapter.r)
