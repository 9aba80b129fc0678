"""Chooses the cheapest memory plan with which jobs fit a device."""

from collections.abc import Sequence
from dataclasses import replace

from core.errors import JobError
from core.estimates.adapters import FP32, StateBytes
from core.estimates.memory import step_memory
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.shapes import BF16, Device, Load, ModelShape
from core.estimates.sizes import in_words

USUAL_TOKENS = {BF16: 2560, FP32: 1536}
"""Tokens of a micro-batch on a CPU, by the bytes of a number. More bring nothing there."""
MOST_TOKENS = 16_384
"""Tokens of a micro-batch on a GPU at most."""
ENOUGH_TOKENS = 1024
"""With this many tokens, a GPU multiplies about as fast as with more."""
TOKENS_APART = 64
"""Micro-batches are tried in multiples of so many tokens. It is also the smallest micro-batch."""
SPARE: dict[Device, float] = {"cpu": 0.25, "gpu": 0.1}
"""Share of the free memory that stays free, for the allocator's gaps and for what the model leaves out.

Measured: the heap of a trainer on a CPU holds 1.24 times what its tensors take at most."""
ADAPTERS_ON_A_CPU = 4 * 1024**3
"""Bytes of adapters that train together on a CPU at most: other programs need its memory too."""


def cheapest(
    model: ModelShape,
    load: Load,
    free_bytes: int,
    offered: Sequence[Recompute] = tuple(Recompute),
    step_tokens: int | None = None,
    host_bytes: int = 0,
) -> MemoryPlan:
    """Return the cheapest plan with which the load fits into the memory beside the base model.

    To compute less again is cheaper, in the order of `offered`. On a CPU, micro-batches become smaller only
    if nothing else helps. There a resumed job must end with the same adapter to the bit, and smaller
    micro-batches would add gradients in another order. A GPU first takes as few as ENOUGH_TOKENS. The
    operator's `step_tokens` are taken as they are, whether they fit or not. `host_bytes` are free in the
    memory of a GPU's host.

    Raises JobError if the longest row does not fit.
    """
    fewest = step_tokens or _enough(model, load)
    found = []
    ways = possible(offered, host_bytes if _host_holds_a_step(model, load, host_bytes, step_tokens) else 0)
    for recompute in ways:
        tokens = _most_tokens(model, load, recompute, free_bytes, step_tokens, host_bytes)
        found.append(MemoryPlan(recompute, tokens))
        if tokens >= fewest:
            return found[-1]
    if step_tokens is not None:
        return MemoryPlan(ways[-1], step_tokens)
    best = max(found, key=lambda plan: plan.step_tokens)
    if best.step_tokens == 0:
        raise _nothing_fits(model, load, ways[-1], free_bytes)
    return best


def possible(offered: Sequence[Recompute], host_bytes: int) -> Sequence[Recompute]:
    """Return what of the offered a device can do. Inputs wait on the host only if a GPU's host has memory."""
    if host_bytes:
        return offered
    without = [each for each in offered if each is not Recompute.LAYERS_FROM_HOST]
    return without or [Recompute.LAYERS]


def grown(
    model: ModelShape,
    load: Load,
    present: MemoryPlan,
    free_bytes: int,
    step_tokens: int | None = None,
    host_bytes: int = 0,
) -> MemoryPlan | None:
    """Return the plan of jobs to which others have come, or None if this load does not fit then.

    It recomputes what the present plan does, so that no job computes more again than before. Only on a GPU,
    where nothing is promised to the bit, micro-batches may shrink to ENOUGH_TOKENS.
    """
    most = _most_tokens(model, load, present.recompute, free_bytes, step_tokens, host_bytes)
    if most < _fewest_tokens(model, load, present, step_tokens):
        return None
    return replace(present, step_tokens=min(present.step_tokens, most))


def room_for_adapters(
    model: ModelShape, load: Load, memory_plan: MemoryPlan, free_bytes: int, step_tokens: int | None = None
) -> int:
    """Return the bytes that all adapters may take on the device so that `grown` finds a plan for them.

    The rows of another job are not known yet. On a CPU, ADAPTERS_ON_A_CPU is the most.
    """
    tokens = _fewest_tokens(model, load, memory_plan, step_tokens)
    bare = replace(load, state=StateBytes())
    step = step_memory(model, bare, memory_plan.recompute, max(tokens, load.longest_row))
    room = max(0, usable(free_bytes, load.device) - step.peak)
    if load.device == "cpu":
        return min(room, ADAPTERS_ON_A_CPU)
    stacks = model.number_bytes / (4 * FP32 + model.number_bytes)  # of a LoRA's state: its factors once more
    return round(room / (1 + stacks))


def usable(free_bytes: int, device: Device) -> int:
    """Return how much of the free memory a plan may take."""
    return round(free_bytes * (1 - SPARE[device]))


def _enough(model: ModelShape, load: Load) -> int:
    return USUAL_TOKENS[model.number_bytes] if load.device == "cpu" else ENOUGH_TOKENS


def _fewest_tokens(model: ModelShape, load: Load, present: MemoryPlan, step_tokens: int | None) -> int:
    """Return the tokens to which micro-batches may shrink for another job. On a CPU they never do."""
    return step_tokens or min(present.step_tokens, _enough(model, load))


def _most_tokens(
    model: ModelShape,
    load: Load,
    recompute: Recompute,
    free_bytes: int,
    step_tokens: int | None,
    host_bytes: int,
) -> int:
    """Return the most tokens of a micro-batch that fit, or 0 if the longest row does not."""
    most = USUAL_TOKENS[model.number_bytes] if load.device == "cpu" else MOST_TOKENS
    left = usable(free_bytes, load.device) - load.state.total

    def fits(tokens: int) -> bool:
        step = step_memory(model, load, recompute, max(tokens, load.longest_row))
        return step.peak <= left and step.on_host <= usable(host_bytes, "cpu")

    if step_tokens is not None:
        return step_tokens if fits(step_tokens) else 0
    if fits(most):
        return most
    few, many = 0, most // TOKENS_APART
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if fits(middle * TOKENS_APART) else (few, middle)
    return few * TOKENS_APART


def _host_holds_a_step(model: ModelShape, load: Load, host_bytes: int, step_tokens: int | None) -> bool:
    tokens = max(load.longest_row, step_tokens or TOKENS_APART)
    step = step_memory(model, load, Recompute.LAYERS_FROM_HOST, tokens)
    return step.on_host <= usable(host_bytes, "cpu")


def _nothing_fits(model: ModelShape, load: Load, recompute: Recompute, free_bytes: int) -> JobError:
    """Return the error for the client: how much is missing, and what would need less."""
    tokens = max(load.longest_row, TOKENS_APART)
    step = step_memory(model, load, recompute, tokens).peak
    missing = (
        f"Beside the base model, the adapters take {in_words(load.state.total)} and a step at least "
        f"{in_words(step)}, but only {in_words(usable(free_bytes, load.device))} can be used. "
    )
    smallest = step_memory(model, replace(load, longest_row=0), recompute, TOKENS_APART).peak
    if load.state.total + smallest > usable(free_bytes, load.device):
        whole = "" if load.peft is None else ", train less as a whole (adapter.modules_to_save)"
        advice = f"Lower adapter.r{whole}, or choose a smaller or a quantised base model."
        return JobError("out_of_memory", missing + advice, "adapter.r")
    advice = (
        f"The longest row has {load.longest_row:,} tokens: lower training.max_length or adapter.r, or choose "
        "a smaller or a quantised base model."
    )
    return JobError("out_of_memory", missing + advice, "training.max_length")
