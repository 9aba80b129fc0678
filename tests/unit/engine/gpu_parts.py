"""What the tests of a GPU's parts share: they make the same calls on a CPU, without a compiler."""

from collections.abc import Sequence

import pytest
import torch

from worker.engine import operations, projection
from worker.engine.attention import Heads
from worker.engine.layout import Segment

UNCOMPILED = operations.on_gpu(lambda function: function)
HEADS = Heads(query=6, key=2, size=16)
FLEX = pytest.mark.usefixtures("flex_gradients_on_a_cpu")

K, COLUMNS = 32, (slice(0, 32), slice(32, 48), slice(48, 64))


def tree(root: int, *branches: int, start: int = 0) -> list[Segment]:
    """Segments that each see the first alone."""
    segments = [Segment(start, start + root)]
    for length in branches:
        end = segments[-1].end
        segments.append(Segment(end, end + length, ((start, start + root),)))
    return segments


def share(
    rows: slice, ranks: dict[int, int], dtype: torch.dtype, columns: Sequence[slice]
) -> projection.Share:
    """An adapter on some of the group's projections, with a rank for each."""
    A = projection.Place(0, (sum(ranks.values()), K))
    start, first, parts = A.stop, 0, []
    for index, rank in ranks.items():
        width = columns[index].stop - columns[index].start
        B = projection.Place(start, (width, rank))
        parts.append(projection.Part(columns[index], slice(first, first + rank), B, 0.7 + index))
        start, first = B.stop, first + rank
    parameters = projection.FlatParameters(torch.randn(start) / 4, dtype)
    return projection.Share(rows, projection.LowRank(parameters, A, parts))
