"""Lanes: parts of a micro-batch side by side give what it gives whole."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from core.jobs.spec import JobSpec, LoraAdapter
from core.objectives.dpo import Dpo
from tests.fixtures.engine.objectives import pairs
from tests.fixtures.engine.rows import make_rows, shared_rows, with_beginning
from tests.fixtures.engine.training import evaluate, make_spec, make_trainee, train
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.lanes import Lanes
from worker.engine.kernels import attention
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.rows.row import Row

pytestmark = pytest.mark.slow

DEADLINE = 120


@pytest.fixture
def threads() -> Iterator[int]:
    """Two threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


@pytest.mark.family(1)
@pytest.mark.parametrize(
    ("rows", "spec"),
    [(make_rows(12, 0), make_spec()), (shared_rows(), make_spec()), (pairs(12), make_spec(objective=Dpo()))],
    ids=["unlike rows", "shared prefixes", "pairs"],
)
def test_two_lanes_give_the_losses_and_adapters_of_one(
    base: ResidentBase, threads: int, rows: list[Row], spec: JobSpec
) -> None:
    outcomes = []
    for count in (1, 2):
        base.lanes = Lanes(count)
        trainees = [make_trainee(base, f"{name}{count}", spec, rows) for name in "ab"]
        losses = train(base, trainees, 4)
        validation = evaluate(PassContext(base, max_tokens=40), trainees[0].adapter, rows).loss
        outcomes.append(([*losses.values()], validation, trainees[1].adapter.parameters.master))
    (alone, valid_alone, master_alone), (beside, valid_beside, master_beside) = outcomes
    assert beside[0] == pytest.approx(alone[0], rel=1e-5)
    assert beside[1] == pytest.approx(alone[1], rel=1e-5)
    assert valid_beside == pytest.approx(valid_alone, rel=1e-5)
    assert torch.allclose(master_beside, master_alone, atol=1e-5)


def test_lanes_compute_at_the_same_time_and_divide_the_threads(threads: int) -> None:
    together = threading.Barrier(2, timeout=DEADLINE)

    def compute(lane: int, item: str) -> tuple[int, str, int]:
        together.wait()
        return lane, item, torch.get_num_threads()

    lanes = Lanes(2)
    assert lanes.map(compute, ["a", "b"]) == [(0, "a", 1), (1, "b", 1)]
    # An item alone has no more threads, so that its result is the same to the bit
    assert lanes.map(lambda _, item: (item, torch.get_num_threads()), ["alone"]) == [("alone", 1)]


def test_a_thread_that_begins_after_the_lanes_has_all_threads(threads: int) -> None:
    """So the next base model's lanes are as many."""
    Lanes(2).map(lambda *_: None, ["a", "b"])
    with ThreadPoolExecutor(1) as after:
        assert after.submit(torch.get_num_threads).result() == threads


@pytest.mark.timeout(DEADLINE)
@pytest.mark.parametrize(("failing", "in_backward"), [(0, False), (1, True)])
def test_nobody_waits_for_a_lane_that_failed(
    base: ResidentBase, threads: int, failing: int, in_backward: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotate = attention._rotate

    def rotate_or_fail(x_TD: Tensor, out_TD: Tensor, layout: attention.Layout, back: bool = False) -> None:
        if layout.lane.number == failing and back == in_backward:
            raise MemoryError
        rotate(x_TD, out_TD, layout, back)

    base.lanes = Lanes(2)
    trainee = make_trainee(base, "a", make_spec(), shared_rows())
    monkeypatch.setattr(attention, "_rotate", rotate_or_fail)
    with pytest.raises(MemoryError):
        train(base, [trainee], 1)


@pytest.mark.timeout(DEADLINE)
def test_nobody_waits_for_a_lane_whose_job_learns_nothing_so_deep(base: ResidentBase, threads: int) -> None:
    deep = make_rows(1, 0)
    shallow = [with_beginning(np.arange(200, dtype=np.int32), row) for row in make_rows(1, 1)]
    rows = {"deep": deep, "shallow": shallow}
    specs = {
        "deep": make_spec(),
        "shallow": make_spec(adapter=LoraAdapter(r=2, target_modules=["down_proj"])),
    }
    outcomes = []
    for count in (1, 2):
        base.lanes = Lanes(count)
        trainees = [make_trainee(base, f"{name}{count}", specs[name], rows[name]) for name in rows]
        for _ in range(2):
            train_round(PassContext(base, max_tokens=1_000), trainees)
        outcomes.append(torch.cat([trainee.adapter.parameters.master.detach() for trainee in trainees]))
    alone, beside = outcomes
    assert torch.allclose(beside, alone, atol=1e-5)


def test_what_one_lane_raises_comes_when_the_others_have_ended(threads: int) -> None:
    may_end, ended = threading.Event(), threading.Event()

    def compute(lane: int, _: None) -> None:
        if lane == 0:
            raise MemoryError
        assert may_end.wait(DEADLINE)
        ended.set()

    threading.Timer(0.2, may_end.set).start()  # long after the first lane's error
    with pytest.raises(MemoryError):
        Lanes(2).map(compute, [None, None])
    assert ended.is_set()
