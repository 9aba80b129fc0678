"""The memory that a base model takes while it is loaded, beside what stays of it."""

from core.estimates.adapters import FP32
from core.estimates.shapes import Device, ModelShape


def loading_bytes(model: ModelShape, device: Device) -> int:
    """Return the most bytes beside the base model's own while it is loaded.

    Weights are read one by one, and each is quantised before the next one is read. The largest has its turn
    when nearly all others are there. One of these comes on top of what stays:

        2 b N K E: a stack of experts, and the parts of which transformers merges it; b N K E if it stays
        (b + 16) N K: another matrix, and what bitsandbytes makes of it in fp32 on a CPU to quantise it

    With nf4, the embedding and the head wait in b bytes until everything is read, and have 8 bits then.
    """
    b = model.number_bytes
    count = model.experts.count if model.experts else 1
    stacks = [b * K * N // count for K, N in model.expert_projections.values()]
    if model.quantization is None:
        return max(stacks, default=0)
    made = 4 * FP32 if device == "cpu" else 0
    matrices = [(b + made) * K * N for K, N in model.projections.values()]
    ends = (1 if model.tied else 2) * model.vocabulary * model.hidden
    waiting = (b - 1) * ends if model.quantization == "nf4" else 0
    return max(2 * max(stacks, default=0), *matrices) + waiting
