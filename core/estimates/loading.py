"""The memory that a base model takes while it is loaded, beside what stays of it, and the time of a load."""

from collections.abc import Mapping
from dataclasses import replace

from core.estimates.shapes import BF16, Device, ModelShape, base_bytes

READ_BYTES = (0.1e9, 0.5e9, 2e9)
"""Bytes of weights that are read in a second: from a disk of the network, from one of the machine, and if the
system holds them in memory."""
QUANTISED_BYTES: Mapping[Device, tuple[float, float, float]] = {
    "cpu": (0.1e9, 0.3e9, 1e9),
    "gpu": (0.5e9, 2e9, 5e9),
}
"""Bytes of weights in 16 bits that are quantised in a second, and written to be kept.

Measured: 8 B in nf4 on two cores of an EPYC with AVX2, beside other work, in 102 s with the reading. Those of
GPUs are assumed."""


def loading_bytes(model: ModelShape) -> int:
    """Return the most bytes beside the base model's own while it is loaded.

    Weights are read one by one, in 16 bits, and each is cast or quantised before the next one is read. The
    largest has its turn when nearly all others are there. One of these comes on top of what stays:

        2 b N K E: a stack of experts, and the parts of which transformers merges it; b N K E if it stays
        b N K: another matrix that is quantised
        2 N K: a matrix as it was read, if it is cast to fp32

    With nf4, the embedding and the head wait in b bytes until everything is read. Then they get 8 bits, one
    after the other, unless the embedding scales.
    """
    b, quantised = model.number_bytes, model.quantization is not None
    cast = 0 if b == BF16 else BF16
    end = model.vocabulary * model.hidden
    most = cast * end
    for layer in set(model.each_layer):
        count = layer.experts.count if layer.experts else 1
        stacks = [b * K * N // count for K, N in layer.expert_projections.values()]
        matrices = [((b if quantised else 0) + cast) * K * N for K, N in layer.projections.values()]
        most = max([most, *matrices, *((2 if quantised else 1) * size for size in stacks)])
    if model.quantization == "nf4" and not model.scales_embedding:
        return max(most, end) + (b - 1) * end * (1 if model.tied else 2)
    return most


def loading_seconds(model: ModelShape, device: Device) -> tuple[float, float, float]:
    """Return the least, the expected and the most seconds of a load.

    The least is that of a quantised copy that an earlier load has kept. The others quantise the weights.
    """
    published = base_bytes(replace(model, quantization=None, number_bytes=BF16))
    slow, usual, fast = (published / each for each in READ_BYTES)
    if model.quantization is None:
        return fast, usual, slow
    most, expected, _ = (published / each for each in QUANTISED_BYTES[device])
    return base_bytes(model) / READ_BYTES[2], usual + expected, slow + most
