"""AdamW's two moments over an adapter's flat parameters, in fp32 or in 8 bits.

Axes: P trained values; B blocks.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from core.estimates.adapters import blocks_of
from worker.engine.parameters.flat import Extent, named_tensors

MOMENTS = ("exp_avg", "exp_avg_sq")


class Moments:
    """The moments in fp32, [P], which `torch.optim.AdamW` updates."""

    def __init__(self, values: Tensor) -> None:
        """`values` are the parameters, [P]. The moments are on their device."""
        self.flat = {moment: torch.zeros_like(values) for moment in MOMENTS}

    def states(self, spans: Sequence[slice]) -> list[dict[str, Tensor]]:
        """Return the optimizer's state of each span of the parameters, as views."""
        device = self.flat[MOMENTS[0]].device  # a fused update needs its step count on the device
        return [
            {"step": torch.zeros((), device=device), **{name: flat[span] for name, flat in self.flat.items()}}
            for span in spans
        ]

    def saved(self, extents: Mapping[str, Extent]) -> dict[str, Tensor]:
        """Return the tensors that a resume needs, by name."""
        return named_tensors(self.flat, extents)


class EightBitMoments(Moments):
    """The moments in 8 bits, [P], with an fp32 scale for each block, [B]. `BlockwiseAdamW` updates them."""

    def __init__(self, values: Tensor) -> None:
        self.flat = {moment: torch.zeros_like(values, dtype=torch.uint8) for moment in MOMENTS}
        self._scales: dict[str, Tensor] = {}

    def states(self, spans: Sequence[slice]) -> list[dict[str, Tensor]]:
        blocks = [blocks_of(span.stop - span.start) for span in spans]
        ends = list(accumulate(blocks))
        device = self.flat[MOMENTS[0]].device
        self._scales = {moment: torch.zeros(ends[-1], device=device) for moment in MOMENTS}
        return [
            {
                "step": torch.zeros(()),
                **{moment: flat[span] for moment, flat in self.flat.items()},
                **{f"{moment}_scale": scales[end - size : end] for moment, scales in self._scales.items()},
            }
            for span, size, end in zip(spans, blocks, ends, strict=True)
        ]

    def saved(self, extents: Mapping[str, Extent]) -> dict[str, Tensor]:
        return super().saved(extents) | {
            f"scales.{moment}": scales for moment, scales in self._scales.items()
        }
