"""How much memory an adapter takes while it trains, known before it is attached."""

from collections.abc import Mapping

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from core.methods.low_rank import AdaLoraAdapter, EvaConfig, LoraAdapter, LowRankAdapter
from worker.engine.adapters.sizes import rank_of
from worker.engine.base.targets import Groups, adaptable, is_target

OPTIMIZED_BYTES = 4 * 3  # fp32: the parameter, AdamW's two moments
GRADIENT_BYTES = 4  # fp32, for each lane
FACTOR_BYTES = 4  # fp32, where they are not the parameters themselves
AVERAGE_BYTES = 4  # fp32: each of AdaLoRA's two
NORM_BYTES = 4  # fp32: the squared norm of an output's weights
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


def state_bytes(shapes: Shapes, adapter: LowRankAdapter, dtype: torch.dtype, lanes: int) -> int:
    """Bytes of an adapter's parameters, gradients and moments on a base that computes in `dtype` in `lanes`.

        P = Σ r (K + N)   over the adapted projections: A is [r, K], B is [N, r]
        bytes = (12 + 4 lanes) P, and dtype's size times P for the copy that is computed with, unless dtype is
        fp32

    Where F factors follow from P parameters, they are made in fp32 and copied in dtype, and have the lanes'
    gradients; what else a method keeps comes to so many bytes too:

        bytes = 16 P + (4 + 4 lanes + dtype's size) F + kept
        PiSSA, OLoRA, CorDA: F = 2 P, kept = 4 P, with what they began with
        DoRA: P = F = Σ r (K + N) + N, kept = 4 Σ N, with the squared norms of the weights
        DyLoRA: F = P, kept = 0
        AdaLoRA: P = Σ r (K + N + 1), F = Σ r (K + N), kept = 8 P + Σ r, with two averages and a mask

    Activations do not count: micro-batches bound them by tokens, however many jobs share a round.
    """
    adapted = {name: shapes[name] for name in shapes if is_target(name, adapter.target_modules)}
    numbers = _numbers(adapted, adapter)
    match adapter:
        case AdaLoraAdapter():
            ranks = adapter.init_r * len(adapted)
            parameters = numbers + ranks
            return _with_factors(parameters, numbers, 2 * AVERAGE_BYTES * parameters + ranks, dtype, lanes)
        case LoraAdapter(dynamic_rank=True):
            return _with_factors(numbers, numbers, 0, dtype, lanes)
        case LoraAdapter(begins_with_weights=True):
            return _with_factors(numbers, 2 * numbers, FIRST_BYTES * numbers, dtype, lanes)
        case LoraAdapter(use_dora=True):
            outputs = sum(N for _, N in adapted.values())
            return _with_factors(numbers + outputs, numbers + outputs, NORM_BYTES * outputs, dtype, lanes)
    copy = 0 if dtype == torch.float32 else dtype.itemsize
    return numbers * (OPTIMIZED_BYTES + GRADIENT_BYTES * lanes + copy)


def _numbers(adapted: Shapes, adapter: LowRankAdapter) -> int:
    """Σ r (K + N), and with EVA the most that it may come to, where the widest modules get all they may."""
    ranks = {name: rank_of(name, adapter) for name in adapted}
    if not isinstance(adapter, LoraAdapter) or adapter.init_lora_weights != "eva":
        return sum(rank * sum(adapted[name]) for name, rank in ranks.items())
    most = round((adapter.eva_config or EvaConfig()).rho * max(ranks.values(), default=0))
    left, numbers = sum(ranks.values()), 0
    for width in sorted(map(sum, adapted.values()), reverse=True):
        numbers += min(most, left) * width
        left -= min(most, left)
    return numbers


def _with_factors(parameters: int, factors: int, kept: int, dtype: torch.dtype, lanes: int) -> int:
    of_factors = FACTOR_BYTES + GRADIENT_BYTES * lanes + dtype.itemsize
    return parameters * (OPTIMIZED_BYTES + GRADIENT_BYTES) + factors * of_factors + kept
