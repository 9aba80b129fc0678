"""What the tests of a GPU's parts share: they make the same calls on a CPU, without a compiler."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from core.jobspec import LoraAdapter
from tests.unit.engine.rows import shared_rows
from tests.unit.engine.test_training import MAX_TOKENS, make_member, make_spec, train
from worker.engine import operations, projection
from worker.engine.attention import Heads
from worker.engine.base_model import ResidentBase
from worker.engine.loop import evaluate
from worker.engine.micro_batch import Segment
from worker.engine.parameters import FlatParameters, Place

UNCOMPILED = operations.on_gpu(lambda function: function)
HEADS = Heads(query=6, key=2, size=16)
ON_QUERIES = LoraAdapter(r=9, target_modules=["q_proj"])
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
    rows: slice,
    ranks: dict[int, int],
    dtype: torch.dtype,
    columns: Sequence[slice],
    device: str | torch.device = "cpu",
) -> projection.Share:
    """An adapter on some of the group's projections, with a rank for each."""
    A = Place(0, (sum(ranks.values()), K))
    start, first, parts = A.stop, 0, []
    for index, rank in ranks.items():
        width = columns[index].stop - columns[index].start
        B = Place(start, (width, rank))
        parts.append(projection.Part(columns[index], slice(first, first + rank), B, 0.7 + index))
        start, first = B.stop, first + rank
    parameters = FlatParameters(torch.randn(start).to(device) / 4, dtype)
    return projection.Share(rows, projection.LowRank(parameters, A, parts))


def train_two(
    base: ResidentBase, second: LoraAdapter = ON_QUERIES
) -> tuple[dict[str, list[float]], list[Tensor]]:
    """Two unlike adapters through three rounds: the losses of each, then its validation loss, and its end."""
    members = [
        make_member(base, "first", make_spec(), shared_rows()),
        make_member(base, "second", make_spec(adapter=second), shared_rows(1)),
    ]
    for member in members:
        master = member.adapter.parameters.master
        random = torch.randn(master.shape, generator=torch.Generator().manual_seed(1))
        master.data.copy_(random / 10)  # B starts at zero, where half of the gradients vanish
    losses = train(base, members, 3)
    for member in members:
        losses[member.adapter.name].append(evaluate(base, member.adapter, shared_rows(2), MAX_TOKENS).loss)
    return losses, [member.adapter.parameters.master.cpu() for member in members]
