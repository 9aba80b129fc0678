"""A round's rows laid end to end on token axes, without padding, cut to what fits in memory at once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from worker.data.render import Row
from worker.engine.layout import MicroBatch, Segment


@dataclass(frozen=True)
class Share:
    """What one adapter contributes to a round. `weight` is each supervised token's part in its mean loss."""

    adapter: str
    rows: Sequence[Row]
    weight: float


def pack(shares: Sequence[Share], max_tokens: int, device: torch.device) -> Iterator[MicroBatch]:
    """Micro-batches of at most `max_tokens` tokens, or of one longer row; an adapter's rows stay together.

    They are of like size: products of a small rest would be inefficient.
    """
    total = sum(len(row.tokens_L) for share in shares for row in share.rows)
    fair_share = total / max(1, math.ceil(total / max_tokens))
    pending: list[tuple[Share, Row]] = []
    tokens = 0
    for share in shares:
        for row in share.rows:
            length = len(row.tokens_L)
            if pending and (tokens + length > max_tokens or tokens + length / 2 > fair_share):
                yield _lay(pending, device)
                pending, tokens = [], 0
            pending.append((share, row))
            tokens += length
    if pending:
        yield _lay(pending, device)


def _lay(rows: Sequence[tuple[Share, Row]], device: torch.device) -> MicroBatch:
    segments = []
    adapter_rows: dict[str, slice] = {}
    positions, supervised, labels, weights = [], [], [], []
    start = 0
    for share, row in rows:
        end = start + len(row.tokens_L)
        segments.append(Segment(start, end))
        before = adapter_rows.get(share.adapter, slice(start, start))
        adapter_rows[share.adapter] = slice(before.start, end)
        learnt = np.flatnonzero(row.learnt_L[1:])
        positions.append(np.arange(end - start))
        supervised.append(learnt + start)
        labels.append(row.tokens_L[learnt + 1])
        weights.append(np.full(len(learnt), share.weight, dtype=np.float32))
        start = end

    def on_axis(parts: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(device)

    return MicroBatch(
        tokens_T=on_axis([row.tokens_L for _, row in rows]).long(),
        positions_T=on_axis(positions),
        segments=segments,
        adapter_rows=adapter_rows,
        supervised_S=on_axis(supervised),
        labels_S=on_axis(labels).long(),
        weights_S=on_axis(weights),
    )
