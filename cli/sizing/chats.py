"""How many GPUs answer the chats: a model of the sampler on a GPU, which was never measured there.

A step reads all weights once, whatever the number of answers in it. So an answer of n tokens takes n times
the weights over the card's bandwidth. A prompt takes as many operations as a forward pass.
"""

from dataclasses import dataclass
from math import ceil

from api.job_estimates.work import forward_operations
from cli.sizing.wanted import Wanted
from core.estimates.job.devices import Machine
from core.estimates.shapes import ModelShape, base_bytes

# Bytes a second, of NVIDIA's data sheets: SXM where there are several forms, but the A100 80 GB on PCIe
BANDWIDTH = {
    "rtx-4090": 1.008e12,
    "l4": 0.300e12,
    "a100-40gb": 1.555e12,
    "a100-80gb": 1.935e12,
    "h100": 3.35e12,
    "h200": 4.8e12,
}
REACHED = 0.5  # share of the bandwidth: assumed
SPARE = 0.1  # share of a card's memory for libraries and workspace: assumed
# Share of the time in which a device computes, so that jobs wait about as long as they take: assumed
BUSY = 0.7
MOST_AT_ONCE = 64  # answers in one step (`Limits.max_running` of the sampler)


@dataclass(frozen=True)
class Answers:
    """The time and the servers that answers take on one kind of card."""

    seconds: float
    """From the first token of an answer to the last one"""
    at_once: int
    """Answers that one server computes together: its cache bounds them"""
    servers: int


def answers(wanted: Wanted, model: ModelShape, machine: Machine, cache_bytes: int) -> Answers | None:
    """Return what the chats take on a card; None if the base model does not fit, or the card is unknown."""
    bandwidth = BANDWIDTH.get(machine.name)
    held = base_bytes(model)
    if bandwidth is None or held + cache_bytes > machine.memory_bytes * (1 - SPARE):
        return None
    step = held / (REACHED * bandwidth)
    prompt = wanted.prompt * forward_operations(model, wanted.prompt) / machine.flops[1]
    seconds = wanted.answer * step
    room = cache_bytes // max(1, token_bytes(model) * (wanted.prompt + wanted.answer))
    at_once = max(1, min(MOST_AT_ONCE, room))
    load = wanted.chats * (prompt + seconds / at_once)
    return Answers(seconds, at_once, ceil(load / BUSY))


def token_bytes(model: ModelShape) -> int:
    """Return the bytes of keys and values of a token."""
    return sum(2 * layer.keys * layer.number_bytes for layer in model.each_layer if layer.heads)
