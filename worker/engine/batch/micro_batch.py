"""What each token of a micro-batch may see: a forest of segments on one token axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.batch.exchange import Lane

TILE = 16
"""Tokens. For each number oneDNN makes code for all products, twice as fast for a multiple of this."""

Run = tuple[int, int]
"""Start and end on the token axis."""


@dataclass(frozen=True)
class Segment:
    """A run of tokens that see each other causally, and every token of the runs in `prefix`.

    A row that begins like other rows of its step is a chain of segments: `prefix` holds those before this
    one, in order. Positions go on from the prefix's end.
    """

    start: int
    end: int
    prefix: tuple[Run, ...] = ()

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def prefix_length(self) -> int:
        return sum(end - start for start, end in self.prefix)

    @property
    def seen(self) -> tuple[Run, ...]:
        """The prefix's runs, then its own."""
        return *self.prefix, (self.start, self.end)


@dataclass(frozen=True)
class MicroBatch:
    """Tokens to compute at once; the segments of one adapter lie side by side.

    A token is supervised once for every row that it stands in: `supervised_S` are ascending positions on the
    token axis, repeated where need be, whose next token, `labels_S`, is learnt with `weights_S`. `rows_S` are
    the numbers of the rows, through all jobs; `message_weights_S` is None where all messages weigh 1.
    `draws_T`, of `dropout.draws_along`, is None where no job drops anything.

    A `lane`'s part of a micro-batch has the tokens of its own run. Its segments are runs of the whole axis,
    and a prefix may lie in another lane's part; all other positions count from the part's start.
    """

    tokens_T: Tensor
    positions_T: Tensor
    segments: Sequence[Segment]
    adapter_tokens: Mapping[str, slice]
    supervised_S: Tensor
    labels_S: Tensor
    weights_S: Tensor
    rows_S: Tensor
    message_weights_S: Tensor | None = None
    draws_T: Tensor | None = None
    lane: Lane | None = None


def trial_row(adapter: str, length: int, device: torch.device) -> MicroBatch:
    """One row of an adapter's, of the first token alone, to try out what computes."""
    positions_T = torch.arange(length, device=device)
    last_S = positions_T[-1:]
    return MicroBatch(
        tokens_T=torch.zeros_like(positions_T),
        positions_T=positions_T,
        segments=[Segment(0, length)],
        adapter_tokens={adapter: slice(0, length)},
        supervised_S=last_S,
        labels_S=torch.zeros_like(last_S),
        weights_S=torch.ones(1, device=device),
        rows_S=torch.zeros_like(last_S),
    )
