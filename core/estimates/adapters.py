"""How much memory an adapter takes while it trains, known before it is attached."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

from core.methods.low_rank import AdaLoraAdapter, EvaConfig, LoraAdapter, LowRankAdapter
from core.methods.targets import is_target, rank_of, takes_experts

FP32 = 4  # bytes of a number
BLOCK = 256  # values of an 8-bit moment that have one scale, as in bitsandbytes
LAST = ("o_proj", "out_proj", "down_proj", "output_linear", "w2", "per_layer_projection")
"""The layers that read what the first ones of the same module have made"""

Shapes = Mapping[str, tuple[int, int]]
"""(inputs K, outputs N) of a model's projections, by module name; an `ExpertShape` for experts."""


class ExpertShape(NamedTuple):
    """The inputs and outputs of all experts together, E K and E N: each has an A and a B of its own."""

    inputs: int
    outputs: int


@dataclass(frozen=True)
class StateBytes:
    """The bytes that adapters hold from their first step to their last."""

    adapter: int = 0
    """The parameters, the factors that follow from them, and what else a method keeps."""
    gradients: int = 0
    moments: int = 0

    @property
    def total(self) -> int:
        return self.adapter + self.gradients + self.moments

    def with_moments(self, *, in_eight_bits: bool) -> "StateBytes":
        """Return the same, with both moments in 8 bits if asked: 2 P + 8 P / 256 for P parameters."""
        if not in_eight_bits:
            return self
        parameters = self.moments // (2 * FP32)
        return replace(self, moments=2 * (parameters + FP32 * blocks_of(parameters)))

    def __add__(self, other: "StateBytes") -> "StateBytes":
        return StateBytes(
            self.adapter + other.adapter, self.gradients + other.gradients, self.moments + other.moments
        )


def blocks_of(values: int) -> int:
    """Return how many blocks hold so many values."""
    return ceil(values / BLOCK)


def state_bytes(shapes: Shapes, adapter: LowRankAdapter, number_bytes: int, lanes: int) -> StateBytes:
    """Return the bytes of an adapter's parameters, gradients and moments.

    The base computes with numbers of b = `number_bytes`, and in `lanes`. All else is in fp32, and each lane
    has a gradient of its own. If the factors are the parameters themselves (`FlatParameters`):

        P = Σ r (K + N)   over the adapted projections: A is [r, K], B is [N, r]
        adapter = 4 P, and a copy to compute with of b P, unless b is 4
        gradients = 4 lanes P, moments = 8 P

    If F factors follow from P parameters, they are made in fp32, copied to b, and have a gradient in each
    lane beside the one of the parameters. A method may also keep other tensors:

        adapter = 4 P + (4 + b) F + kept, gradients = 4 P + 4 lanes F, moments = 8 P

        PiSSA, OLoRA, CorDA, LoRA-GA: F = 2 P, kept = 4 P, for the first values
        DoRA: P = F = Σ r (K + N) + N, kept = 4 Σ N, for the squared norms of the weights
        DyLoRA: F = P, kept = 0
        AdaLoRA: P = Σ r (K + N + 1), F = Σ r (K + N), kept = 8 P + Σ r, for two averages and a mask
    """
    adapted = {name: shape for name, shape in shapes.items() if _is_adapted(name, shape, adapter)}
    numbers = _numbers(adapted, adapter)
    match adapter:
        case AdaLoraAdapter():
            ranks = adapter.init_r * len(adapted)
            parameters = numbers + ranks
            return _with_factors(parameters, numbers, 2 * FP32 * parameters + ranks, number_bytes, lanes)
        case LoraAdapter(dynamic_rank=True):
            return _with_factors(numbers, numbers, 0, number_bytes, lanes)
        case LoraAdapter(begins_with_weights=True):
            return _with_factors(numbers, 2 * numbers, FP32 * numbers, number_bytes, lanes)
        case LoraAdapter(use_dora=True):
            outputs = sum(N for _, N in adapted.values())
            parameters = numbers + outputs
            return _with_factors(parameters, parameters, FP32 * outputs, number_bytes, lanes)
    copy = 0 if number_bytes == FP32 else number_bytes
    return StateBytes((FP32 + copy) * numbers, FP32 * lanes * numbers, 2 * FP32 * numbers)


def ranks_of(shapes: Shapes, adapters: Sequence[LowRankAdapter]) -> int:
    """Return Σ r over all projections, of the adapter that has most."""
    return max(
        (
            sum(rank_of(name, adapter) for name, shape in shapes.items() if _is_adapted(name, shape, adapter))
            for adapter in adapters
        ),
        default=0,
    )


def inputs_of(shapes: Shapes, adapter: LowRankAdapter, *, are_copied: bool) -> int:
    """Return Σ K over all linear layers that the adapter is put on.

    Unless each layer has a copy of its input, those that read the same count once: the first layers of a
    module, before its last one.
    """
    inputs = {
        name if are_copied or name.endswith(LAST) else name.rpartition(".")[0]: shape[0]
        for name, shape in shapes.items()
        if not isinstance(shape, ExpertShape) and _is_adapted(name, shape, adapter)
    }
    return sum(inputs.values())


def _is_adapted(name: str, shape: tuple[int, int], adapter: LowRankAdapter) -> bool:
    if isinstance(shape, ExpertShape):
        return takes_experts(name, adapter)
    return is_target(name, adapter.target_modules, adapter.layers)


def _numbers(adapted: Shapes, adapter: LowRankAdapter) -> int:
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


def _with_factors(parameters: int, factors: int, kept: int, number_bytes: int, lanes: int) -> StateBytes:
    """Return the bytes of parameters and of the factors that follow from them, with the `kept` bytes."""
    return StateBytes(
        adapter=FP32 * parameters + (FP32 + number_bytes) * factors + kept,
        gradients=FP32 * parameters + FP32 * lanes * factors,
        moments=2 * FP32 * parameters,
    )
