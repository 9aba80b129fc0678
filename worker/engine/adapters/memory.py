"""How much memory an adapter takes while it trains, known before it is attached."""

from collections.abc import Mapping

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from core.methods.low_rank import AdaLoraAdapter, EvaConfig, LoraAdapter, LowRankAdapter
from worker.engine.adapters.sizes import rank_of
from worker.engine.base.targets import Groups, adaptable_modules, is_target

# Bytes for each number, all in fp32
OPTIMIZED_BYTES = 4 * 3  # the parameter and AdamW's two moments
GRADIENT_BYTES = 4  # one gradient; each lane has its own
FACTOR_BYTES = 4  # a factor that is not the parameter itself
AVERAGE_BYTES = 4  # one of AdaLoRA's two averages
NORM_BYTES = 4  # the squared norm of an output's weights
FIRST_BYTES = 4  # the first value of a parameter, which PiSSA, OLoRA and CorDA keep

Shapes = Mapping[str, tuple[int, int]]
"""(inputs K, outputs N) of a model's projections, by module name."""


def projection_shapes(model: nn.Module, groups: Groups) -> Shapes:
    """Return the shapes of the projections that an adapter can be put on."""
    return {name: _shape(model.get_submodule(name)) for name in adaptable_modules(groups)}


def _shape(layer: nn.Module) -> tuple[int, int]:
    match layer:
        case nn.Linear():
            return layer.in_features, layer.out_features
        case Conv1D():
            return layer.nx, layer.nf
    raise TypeError(f"{type(layer).__name__} is no linear layer")


def state_bytes(shapes: Shapes, adapter: LowRankAdapter, dtype: torch.dtype, lanes: int) -> int:
    """Return the bytes of an adapter's parameters, gradients and moments.

    The base computes in `dtype` and in `lanes`. If the factors are the parameters themselves:

        P = Σ r (K + N)   over the adapted projections: A is [r, K], B is [N, r]
        bytes = (12 + 4 lanes) P, plus P times dtype's size, unless fp32, for the copy to compute with

    If F factors follow from P parameters, they are made in fp32, copied in dtype, and have a gradient in each
    lane. A method may also keep other tensors, of so many bytes:

        bytes = 16 P + (4 + 4 lanes + dtype's size) F + kept
        PiSSA, OLoRA, CorDA: F = 2 P, kept = 4 P, for the first values
        DoRA: P = F = Σ r (K + N) + N, kept = 4 Σ N, for the squared norms of the weights
        DyLoRA: F = P, kept = 0
        AdaLoRA: P = Σ r (K + N + 1), F = Σ r (K + N), kept = 8 P + Σ r, for two averages and a mask

    Activations are not counted: micro-batches bound them by tokens, no matter how many jobs share a round.
    """
    adapted = {name: shapes[name] for name in shapes if is_target(name, adapter.target_modules)}
    numbers = _factor_count(adapted, adapter)
    match adapter:
        case AdaLoraAdapter():
            ranks = adapter.init_r * len(adapted)
            parameters = numbers + ranks
            kept = 2 * AVERAGE_BYTES * parameters + ranks
            return _bytes_with_factors(parameters, numbers, kept, dtype, lanes)
        case LoraAdapter(dynamic_rank=True):
            return _bytes_with_factors(numbers, numbers, 0, dtype, lanes)
        case LoraAdapter(begins_with_weights=True):
            return _bytes_with_factors(numbers, 2 * numbers, FIRST_BYTES * numbers, dtype, lanes)
        case LoraAdapter(use_dora=True):
            outputs = sum(N for _, N in adapted.values())
            parameters = numbers + outputs
            return _bytes_with_factors(parameters, parameters, NORM_BYTES * outputs, dtype, lanes)
    copy = 0 if dtype == torch.float32 else dtype.itemsize
    return numbers * (OPTIMIZED_BYTES + GRADIENT_BYTES * lanes + copy)


def _factor_count(adapted: Shapes, adapter: LowRankAdapter) -> int:
    """Return Σ r (K + N), the numbers in all A and B.

    EVA moves ranks between modules. There it is the most that the sum can be: the widest modules get as many
    ranks as they may have.
    """
    ranks = {name: rank_of(name, adapter) for name in adapted}
    if not isinstance(adapter, LoraAdapter) or adapter.init_lora_weights != "eva":
        return sum(rank * sum(adapted[name]) for name, rank in ranks.items())
    most = round((adapter.eva_config or EvaConfig()).rho * max(ranks.values(), default=0))
    left, numbers = sum(ranks.values()), 0
    for width in sorted(map(sum, adapted.values()), reverse=True):
        numbers += min(most, left) * width
        left -= min(most, left)
    return numbers


def _bytes_with_factors(parameters: int, factors: int, kept: int, dtype: torch.dtype, lanes: int) -> int:
    """Return the bytes of parameters and of the factors that follow from them, and the `kept` bytes."""
    bytes_per_factor = FACTOR_BYTES + GRADIENT_BYTES * lanes + dtype.itemsize
    return parameters * (OPTIMIZED_BYTES + GRADIENT_BYTES) + factors * bytes_per_factor + kept
