"""Attention over segments, as a function that transformers calls in the place of its own attention.

A model that uses this implementation gets no mask from transformers. The keys that a token may see follow
from the `SegmentLayout` of the micro-batch, and from the window that the model's layer asks for.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface

from worker.engine.batch.block_mask import narrowing, segments_mask
from worker.engine.batch.chunks import Chunks
from worker.engine.batch.micro_batch import Segment
from worker.engine.kernels.states.convolution import convolve
from worker.engine.kernels.states.scan import Rule, scan

NAME = "tunery_segments"


class Layout(Protocol):
    """Which tokens of an axis meet in convolutions and recurrences."""

    def convolve(
        self, x_TK: Tensor, weight_KW: Tensor, bias_K: Tensor | None, activation: str | None
    ) -> Tensor:
        """Convolve each channel with the tokens before it in its row, [T, K]."""

    def scan(self, inputs: Sequence[Tensor], rule: Rule) -> Tensor:
        """Compute a recurrence, [T, H, U]; the inputs are those of `states/scan.py`."""


@dataclass(frozen=True)
class SegmentLayout:
    """The segments of a micro-batch, which cover its token axis in order, and the tokens' positions.

    One layout, with the masks that it keeps, serves all layers.
    """

    segments: Sequence[Segment]
    positions_T: Tensor
    _masks: dict[tuple[int, int | None], Tensor] = field(default_factory=dict)
    _block_masks: dict[int | None, BlockMask] = field(default_factory=dict)
    _before: dict[int, Tensor] = field(default_factory=dict)

    def seen(self, x_HTE: Tensor, segment: Segment) -> Tensor:
        """Return the keys or values that the segment's tokens may see: the prefix's, then its own."""
        return torch.cat([x_HTE[:, start:end] for start, end in segment.seen], dim=1)

    def mask(self, segment: Segment, window: int | None) -> Tensor:
        """Return the segment's mask of queries by seen keys, True where a query sees a key.

        The key must not stand after the query, nor `window` or more positions before it.
        """
        key = (segment.start, window)
        if key not in self._masks:
            seen = self.seen(self.positions_T[None], segment)[0]
            distance = self.positions_T[segment.start : segment.end, None] - seen[None]
            visible = distance >= 0
            self._masks[key] = visible if window is None else visible & (distance < window)
        return self._masks[key]

    def block_mask(self, window: int | None) -> BlockMask:
        """Return the mask for the whole axis at once."""
        window = narrowing(self.segments, window)
        if window not in self._block_masks:
            self._block_masks[window] = segments_mask(self.segments, window, self.positions_T.device)
        return self._block_masks[window]

    def convolve(
        self, x_TK: Tensor, weight_KW: Tensor, bias_K: Tensor | None, activation: str | None
    ) -> Tensor:
        return convolve(x_TK, self.before(weight_KW.shape[1]), weight_KW, bias_K, activation)

    def scan(self, inputs: Sequence[Tensor], rule: Rule) -> Tensor:
        return scan(inputs, self._chunks, rule)

    @cached_property
    def _chunks(self) -> Chunks:
        return Chunks.of(self.segments, self.positions_T.device)

    def before(self, width: int) -> Tensor:
        """Return the places of each token and of those before it in its row, the nearest first: [T, width].

        The number of tokens stands in the place of one that is not there.
        """
        if width not in self._before:
            none, count = len(self.positions_T), width - 1
            places: list[Tensor] = []
            for segment in self.segments:
                spans = [range(max(start, end - count), end) for start, end in segment.prefix]
                seen = [*[none] * count, *chain.from_iterable(spans)]
                row = [*seen[len(seen) - count :], *range(segment.start, segment.end)]
                places.append(torch.tensor(row).unfold(0, width, 1))
            self._before[width] = torch.cat(places).flip(1).to(self.positions_T.device)
        return self._before[width]


Attend = Callable[[Tensor, Tensor, Tensor, Any, float, int | None, float | None, Tensor | None], Tensor]
"""Queries [H, T, E], keys, values [J, T, E], layout, scale, window, softcap, sinks [H] -> [T, H, E]."""


def by_segments(
    q_HTE: Tensor,
    k_JTE: Tensor,
    v_JTE: Tensor,
    layout: SegmentLayout,
    scale: float,
    window: int | None,
    softcap: float | None,
    sinks_H: Tensor | None,
) -> Tensor:
    """Compute attention with one call for each segment. Arguments and result are those of `Attend`."""
    outputs = []
    for segment in layout.segments:
        q = q_HTE[:, segment.start : segment.end]
        k, v = layout.seen(k_JTE, segment), layout.seen(v_JTE, segment)
        narrow = window if window and window < k.shape[1] else None
        if softcap is not None or sinks_H is not None:
            out = explicit_attention(q, k, v, layout.mask(segment, narrow), scale, softcap, sinks_H)
        else:
            mask = layout.mask(segment, narrow) if segment.prefix or narrow else None
            out = F.scaled_dot_product_attention(
                q[None], k[None], v[None], mask, is_causal=mask is None, scale=scale, enable_gqa=True
            )[0]
        outputs.append(out.transpose(0, 1))
    return torch.cat(outputs)


# transformers calls the attention function by its name and passes no argument of ours to it, so the layout is
# kept here.
_layout: ContextVar[Layout] = ContextVar("layout")
_function: ContextVar[Attend] = ContextVar("attention", default=by_segments)


@contextmanager
def attending_in(layout: Layout, function: Attend = by_segments) -> Iterator[None]:
    """Let transformers' attention inside follow this layout, computed by `function`, which takes it."""
    tokens = _layout.set(layout), _function.set(function)
    try:
        yield
    finally:
        _layout.reset(tokens[0])
        _function.reset(tokens[1])


def current_layout() -> Layout | None:
    """Return the layout of `attending_in`; None outside of it."""
    return _layout.get(None)


def attend(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Compute attention for transformers: [1, H, T, E], [1, J, T, E] twice -> [1, T, H, E].

    `s_aux` are attention sinks: one logit for each head, which takes its share of the softmax and adds no
    value. Raises ValueError if transformers passes a mask.
    """
    if attention_mask is not None:
        raise ValueError("transformers passed an attention mask, but only segments may mask keys")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out_THE = _function.get()(
        query[0], key[0], value[0], _layout.get(), scale, sliding_window or None, softcap, s_aux
    )
    return out_THE[None], None


def explicit_attention(
    q_HLE: Tensor,
    k_JLE: Tensor,
    v_JLE: Tensor,
    mask_LL: Tensor | None,
    scale: float,
    softcap: float | None,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """Compute attention with capped scores or sinks, which PyTorch's own function does not offer.

    L is the number of queries in `q_HLE`, and the number of seen keys in `k_JLE` and `v_JLE`. Without a mask
    every query sees every key.
    """
    q_JGLE = q_HLE.unflatten(0, (len(k_JLE), -1))
    scores = q_JGLE @ k_JLE[:, None].transpose(-1, -2) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask_LL is not None:
        scores = scores.masked_fill(~mask_LL, float("-inf"))
    if sinks_H is not None:
        sinks = sinks_H.to(scores.dtype).view(*q_JGLE.shape[:2], 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    p = torch.softmax(scores, dim=-1, dtype=torch.float32).to(v_JLE.dtype)
    return (p[..., : k_JLE.shape[1]] @ v_JLE[:, None]).flatten(0, 1)


AttentionInterface.register(NAME, attend)
