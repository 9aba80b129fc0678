"""The micro-batch: a forest of segments on one token axis, which says what each token may see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.batch.shared_keys import Lane

TILE = 16
"""A number of tokens. oneDNN generates code for each number, in half the time for a multiple of TILE."""

Span = tuple[int, int]
"""Tokens side by side: the start and the end on the token axis."""


@dataclass(frozen=True)
class Segment:
    """A span of tokens. Each token sees itself, the tokens before it in the span, and the spans in `prefix`.

    A row that begins like other rows of its step is a chain of segments. `prefix` holds the chain's segments
    before this segment, in order. The tokens' positions go on from the prefix's end.
    """

    start: int
    end: int
    prefix: tuple[Span, ...] = ()

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def prefix_length(self) -> int:
        return sum(end - start for start, end in self.prefix)

    @property
    def seen(self) -> tuple[Span, ...]:
        """The spans of the prefix, then the segment's own span."""
        return *self.prefix, (self.start, self.end)


@dataclass(frozen=True)
class MicroBatch:
    """Tokens that are computed at once; the segments of one adapter lie side by side.

    `supervised_S` are ascending indices on the token axis at which the next token of a row is learnt. That
    token is the label in `labels_S`, and its weight is in `weights_S`. An index is repeated if several rows
    that share it learn a label there. `rows_S` are the numbers of the rows, counted through all jobs.
    `message_weights_S` is None if all messages weigh 1. `dropout_seeds_T` are the seeds of
    `dropout.token_seeds`, or None if no job drops inputs. `acting_T` says which tokens their adapters act on,
    or is None if they act on all. `images_ID` has the vectors of the tokens that stand for images: its row i
    is that of the token FIRST_IMAGE_TOKEN + i. `host_supervised_S` are the values of `supervised_S` in the
    host's memory, so that nobody waits for a GPU to know them; None on a CPU.

    With a `lane`, the object is the lane's part of a micro-batch, with the tokens of the lane's own span. Its
    segments are still spans of the whole axis, and a prefix may lie in another lane's part. All other indices
    are counted from the part's start.

    With `members`, the object has the tokens of several jobs that are computed at once (`joining.py`). Each
    member has its own segments and lane, and the object has none.
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
    dropout_seeds_T: Tensor | None = None
    acting_T: Tensor | None = None
    images_ID: Tensor | None = None
    lane: Lane | None = None
    members: Sequence["MicroBatch"] = ()
    host_supervised_S: Tensor | None = None

    @property
    def members_or_itself(self) -> Sequence["MicroBatch"]:
        """The members, or the object itself if it has none."""
        return self.members or (self,)

    @property
    def supervised_on_host_S(self) -> Tensor:  # noqa: N802 - axes
        """`supervised_S`, in the host's memory."""
        return self.supervised_S.cpu() if self.host_supervised_S is None else self.host_supervised_S


def spans_among(indices_S: Tensor, tokens: Mapping[str, slice]) -> dict[str, slice]:
    """Return which of the ascending indices lie in each adapter's span of tokens. All is in host memory."""
    bounds = torch.tensor([(span.start, span.stop) for span in tokens.values()], dtype=torch.int64)
    return {
        name: slice(*pair)
        for name, pair in zip(tokens, torch.searchsorted(indices_S, bounds).tolist(), strict=True)
    }


def trial_row(adapter: str, length: int, device: torch.device) -> MicroBatch:
    """Return one row of `length` tokens, all of them token 0, to try out whether an adapter can compute."""
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
