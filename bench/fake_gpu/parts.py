"""What each part of the engine that only a GPU has brings to a step, by roofline.

A step is computed with the part, and with what would stand in its place: the CPU's functions on the GPU, or
products in bf16. A step takes as long as the GPU or the host needs, whichever needs longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bench.fake_gpu.device import Change, unchanged
from bench.fake_gpu.roofline import H100, LAUNCH, RTX_4090, Card
from bench.fake_gpu.steps import BF16_8B, DROPOUT, ON_RTX_4090, SMOLLM2, Found, Step, train, whole
from worker.engine.kernels.operations import ON_CPU, Operations

LONG = 1024


def without_flex_attention(do: Operations) -> Operations:
    return replace(do, segment_attention=ON_CPU.segment_attention, attend=ON_CPU.attend)


def without_compiled_norm_and_gate(do: Operations) -> Operations:
    return replace(
        do, norm=ON_CPU.norm, project_norm=ON_CPU.project_norm, project_swiglu=ON_CPU.project_swiglu
    )


def without_losses_at_once(do: Operations) -> Operations:
    return replace(do, block_losses=ON_CPU.block_losses)


def without_compiled_dropout(do: Operations) -> Operations:
    return replace(do, drop=ON_CPU.drop)


@dataclass(frozen=True)
class Part:
    """A part, a step that has it, and the change or the step without it."""

    name: str
    step: Step
    change: Change = unchanged
    other: Step | None = None
    cards: Sequence[Card] = (H100,)


BOTH = (H100, RTX_4090)
LLAMA, SMALL = Step(BF16_8B, length=LONG), Step(SMOLLM2)
PARTS = [
    Part("FlexAttention, 8 B, rows of 1,024", LLAMA, without_flex_attention, cards=BOTH),
    Part("FlexAttention, 8 B, rows of 128", Step(BF16_8B), without_flex_attention),
    Part(
        "grouped products, 135 M, 8 jobs",
        replace(SMALL, jobs=8),
        other=replace(SMALL, jobs=8, capability=(8, 0)),
    ),
    Part("compiled norm and gate, 8 B", LLAMA, without_compiled_norm_and_gate),
    Part("losses at once, 8 B", LLAMA, without_losses_at_once),
    Part("compiled dropout, 8 B", replace(LLAMA, adapter=DROPOUT), without_compiled_dropout),
    Part("fp8, 8 B", replace(LLAMA, compute="fp8"), other=LLAMA, cards=BOTH),
]


def rows(only: str = "") -> Iterator[dict[str, Any]]:
    """Yield the time of each step with and without its part, in milliseconds."""
    for part in PARTS:
        if only in part.name:
            yield from (_row(part, card) for card in part.cards)


def _row(part: Part, card: Card) -> dict[str, Any]:
    step, other = part.step, part.other or part.step
    if card is RTX_4090:
        step, other = (replace(each, capability=ON_RTX_4090) for each in (step, other))
    layers = step.base.shape.layers
    own = whole(partial(train, step, card=card), layers)
    without = whole(partial(train, other, card=card, change=part.change), layers)
    return {
        "part": part.name,
        "card": card.name,
        "with it: launches": own.launches,
        "ms": _milliseconds(own),
        "without: launches": without.launches,
        "ms without": _milliseconds(without),
        "gain": f"{1 - _milliseconds(own) / _milliseconds(without):.0%}",
    }


def _milliseconds(found: Found) -> float:
    return round(1e3 * max(found.seconds, found.launches * LAUNCH), 1)
