"""Steps of several texts in transformers' modules: each text goes on where its last step has ended.

The tokens of a step lie on one axis. Attention, convolutions and recurrences are called in the same order in
each step, so what they leave for the next step is found by the number of the call. Attention's keys and
values lie in slots of a pool. A convolution leaves its last inputs, and a recurrence its state.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from worker.engine.batch.chunks import Chunks
from worker.engine.batch.micro_batch import Segment
from worker.engine.kernels.attention import one_attention
from worker.engine.kernels.states.convolution import convolve
from worker.engine.kernels.states.scan import Rule, scan_onwards
from worker.engine.kernels.transformers_attention import explicit_attention


@dataclass(frozen=True)
class PlacedChunk:
    """A chunk's tokens on the axis, and the slots of all tokens that its last one sees."""

    tokens: slice
    slots_L: Tensor


@dataclass
class Pool:
    """The keys and values of all texts: a pair for each call of attention, [slots, J, E] each."""

    slots: int
    calls: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for pair in self.calls for x in pair)


@dataclass
class StepLayout:
    """The chunks of one step, what each text's last step has left, and what this one leaves.

    A text's first step finds nothing. One layout serves one forward pass.
    """

    chunks: Sequence[PlacedChunk]
    slots_T: Tensor
    pool: Pool
    before: Sequence[Sequence[Tensor]]
    after: list[list[Tensor]] = field(init=False)
    query_numbers: int = 0
    _attended: int = 0
    _rows: dict[int, list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.after = [[] for _ in self.chunks]
        segments = [Segment(chunk.tokens.start, chunk.tokens.stop) for chunk in self.chunks]
        self._chunks = Chunks.of(segments, self.slots_T.device)

    def convolve(
        self, x_TK: Tensor, weight_KW: Tensor, bias_K: Tensor | None, activation: str | None
    ) -> Tensor:
        """Convolve each text's tokens behind its last inputs."""
        width = weight_KW.shape[1]
        x_NK = torch.cat([x_TK, *self._left(x_TK.new_zeros(width - 1, x_TK.shape[1]))])
        if width not in self._rows:
            self._rows[width] = self._rows_behind_inputs(width - 1)
        rows = self._rows[width]
        for left, row_L in zip(self.after, rows, strict=True):
            left.append(x_NK[row_L[len(row_L) - width + 1 :]])
        seen_TW = torch.cat([row_L.unfold(0, width, 1).flip(1) for row_L in rows])
        return convolve(x_NK, seen_TW, weight_KW, bias_K, activation)

    def _rows_behind_inputs(self, count: int) -> list[Tensor]:
        """Return the places of each text's last inputs, which lie behind the axis, and of its tokens."""
        device, first = self.slots_T.device, len(self.slots_T)
        rows = []
        for number, chunk in enumerate(self.chunks):
            inputs = torch.arange(count, device=device) + first + number * count
            rows.append(
                torch.cat([inputs, torch.arange(chunk.tokens.start, chunk.tokens.stop, device=device)])
            )
        return rows

    def scan(self, inputs: Sequence[Tensor], rule: Rule) -> Tensor:
        """Compute the recurrence of each text from its last state."""
        _, k_TJE, v_THU, *_ = inputs
        nothing_HEU = torch.zeros(v_THU.shape[1], k_TJE.shape[2], v_THU.shape[2], device=v_THU.device)
        before_XHEU = torch.stack(self._left(nothing_HEU))
        out_THU, after_XHEU = scan_onwards(inputs, self._chunks, rule, before_XHEU)
        for left, state_HEU in zip(self.after, after_XHEU, strict=True):
            left.append(state_HEU.clone())
        return out_THU

    def _left(self, nothing: Tensor) -> list[Tensor]:
        """Return what the last step of each text has left at this call."""
        call = len(self.after[0])
        return [left[call] if left else nothing for left in self.before]

    def in_slots(self, k_JTE: Tensor, v_JTE: Tensor) -> tuple[Tensor, Tensor]:
        """Write keys and values to their slots, and return those of all slots, [slots, J, E]."""
        if self._attended == len(self.pool.calls):
            slots = self.pool.slots
            made = (x.new_empty(slots, x.shape[0], x.shape[2]) for x in (k_JTE, v_JTE))
            self.pool.calls.append((next(made), next(made)))
        keys, values = self.pool.calls[self._attended]
        self._attended += 1
        keys[self.slots_T], values[self.slots_T] = k_JTE.transpose(0, 1), v_JTE.transpose(0, 1)
        return keys, values


def attend_in_slots(
    q_HTE: Tensor,
    k_JTE: Tensor,
    v_JTE: Tensor,
    layout: StepLayout,
    scale: float,
    window: int | None,
    softcap: float | None,
    sinks_H: Tensor | None,
) -> Tensor:
    """Compute attention in the pool of the layout. Arguments and result are those of `Attend`."""
    keys, values = layout.in_slots(k_JTE, v_JTE)
    layout.query_numbers += q_HTE.shape[0] * q_HTE.shape[2]
    outputs = []
    for chunk in layout.chunks:
        q_HLE, tokens = q_HTE[:, chunk.tokens], chunk.tokens.stop - chunk.tokens.start
        slots_L = chunk.slots_L if window is None else chunk.slots_L[-(tokens + window - 1) :]
        k, v = (x[slots_L].transpose(0, 1) for x in (keys, values))
        mask = visible(tokens, len(slots_L), window, q_HTE.device)
        if sinks_H is not None:
            out_HLE = explicit_attention(q_HLE, k, v, mask, scale, softcap, sinks_H)
        else:
            out_HLE = one_attention(q_HLE, k, v, mask, scale, softcap)
        outputs.append(out_HLE.transpose(0, 1))
    return torch.cat(outputs)


def visible(tokens: int, keys: int, window: int | None, device: torch.device) -> Tensor | None:
    """Return which of the keys each of the last `tokens` sees, or None if it is one that sees all."""
    if tokens == 1:
        return None
    mask = torch.ones(tokens, keys, dtype=torch.bool, device=device).tril(keys - tokens)
    return mask if window is None else mask.triu(keys - tokens - window + 1)
