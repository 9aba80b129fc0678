"""The formats of 8 bits in which a base model's products can be taken, and a weight in one of them."""

from collections.abc import Mapping

from core.catalog import Compute
from worker.engine.decoders.quantised_weight import QuantisedWeight
from worker.engine.kernels.fp8.weight import Fp8Weight
from worker.engine.kernels.frozen_weight import DenseWeight, FrozenWeight, RoundedWeight
from worker.engine.kernels.int8.weight import Int8Weight

FORMATS: Mapping[Compute, type[RoundedWeight]] = {"int8": Int8Weight, "fp8": Fp8Weight}


def rounded(weight: FrozenWeight, compute: Compute) -> RoundedWeight | None:
    """Return the weight in the format; None if its own products stay, because the format does not fit it.

    A weight that is held in 8 bits fits int8 only, and gives its own numbers.
    """
    if isinstance(weight, QuantisedWeight):
        return weight.in_8_bits() if compute == "int8" else None
    assert isinstance(weight, DenseWeight)
    chosen = FORMATS[compute]
    if any(size % chosen.multiple_of for size in weight.shape):
        return None
    return chosen.of(weight.weight_NK, weight.bias_N)
