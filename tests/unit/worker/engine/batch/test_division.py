"""A micro-batch parted among lanes: nothing is lost, nobody sees less, and the parts cost alike."""

import pytest
import torch

from tests.fixtures.engine.lessons import expected_lessons, lessons
from tests.fixtures.engine.rows import make_rows, shared_rows
from worker.engine.batch.division import EVEN, Costs, divided
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.micro_batch import TILE, MicroBatch
from worker.engine.batch.pack import pack

CPU = torch.device("cpu")


def micro_batch(*shares: JobRows) -> MicroBatch:
    (batch,) = pack(shares, 100_000, CPU)
    return batch


@pytest.mark.parametrize("lanes", [1, 2, 3, 7])
def test_each_row_is_learnt_whole_wherever_the_axis_is_cut(lanes: int) -> None:
    rows = shared_rows()
    whole = micro_batch(JobRows("job", rows, 0.5))
    parts = divided(whole, lanes, EVEN, tile=1)
    assert len(parts) == lanes
    assert torch.equal(torch.cat([part.tokens_T for part in parts]), whole.tokens_T)
    assert torch.equal(torch.cat([part.positions_T for part in parts]), whole.positions_T)
    found = [lesson for part in parts for lesson in lessons(part, whole.tokens_T)]
    assert sorted(found) == expected_lessons(rows, 0.5)


def test_each_jobs_tokens_stay_its_own() -> None:
    whole = micro_batch(*(JobRows(name, make_rows(6, seed), 1.0) for seed, name in enumerate("abc")))
    parts = divided(whole, 2, EVEN, tile=1)
    for name, tokens in whole.adapter_tokens.items():
        mine = [part.tokens_T[part.adapter_tokens[name]] for part in parts if name in part.adapter_tokens]
        assert torch.equal(torch.cat(mine), whole.tokens_T[tokens])


def test_parts_are_whole_tiles_and_what_fills_them_teaches_nothing() -> None:
    rows = shared_rows()
    whole = micro_batch(JobRows("job", rows, 0.5))
    assert len(whole.tokens_T) % TILE
    parts = divided(whole, 2, EVEN)
    assert [len(part.tokens_T) % TILE for part in parts] == [0, 0]
    axis_T = torch.cat([part.tokens_T for part in parts])
    assert torch.equal(axis_T[: len(whole.tokens_T)], whole.tokens_T)
    assert sum(span.stop - span.start for part in parts for span in part.adapter_tokens.values()) == len(
        axis_T
    )
    assert sorted(one for part in parts for one in lessons(part, axis_T)) == expected_lessons(rows, 0.5)


@pytest.mark.parametrize("costs", [EVEN, Costs(key=0.01, label=3.0)], ids=["even", "attention and labels"])
def test_the_parts_cost_alike(costs: Costs) -> None:
    def cost(part: MicroBatch) -> float:
        keys = sum(one.length * (one.prefix_length + one.length) for one in part.segments)
        return len(part.tokens_T) + costs.key * keys + costs.label * len(part.labels_S)

    lighter, heavier = sorted(
        map(cost, divided(micro_batch(JobRows("job", shared_rows(), 1.0)), 2, costs, tile=1))
    )
    assert heavier - lighter < 0.05 * heavier


def test_there_are_no_more_parts_than_tokens() -> None:
    (row,) = make_rows(1, 0)
    parts = divided(micro_batch(JobRows("job", [row], 1.0)), 10 * len(row.tokens_L), EVEN, tile=1)
    assert [len(part.tokens_T) for part in parts] == [1] * len(row.tokens_L)
