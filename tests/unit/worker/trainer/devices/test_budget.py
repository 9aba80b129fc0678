"""The memory plan of a cohort follows from the memory that its base model leaves, or from the operator."""

from dataclasses import replace
from math import ceil

import pytest
import torch

from core.errors import JobError
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.planning import SPARE, USUAL_TOKENS
from core.jobs.spec import Hyperparameters, JobSpec
from core.methods.low_rank import LoraAdapter
from core.settings import Settings
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.models.tiny import TINY, write_base
from worker.device.model_holder import ModelHolder
from worker.device.watchdog import Watchdog
from worker.engine.step.processes import ALONE
from worker.rows.row_store import RowStore, store_rows
from worker.trainer.devices.process_group import ProcessGroup

FEW_TOKENS = 512
SPEC = JobSpec(
    base_model=TINY,
    seed=1,
    hyperparameters=Hyperparameters(n_epochs=1, batch_size=1, learning_rate_multiplier=1),
    adapter=LoraAdapter(r=32),
)


@pytest.fixture(scope="module")
def slot(tmp_path_factory: pytest.TempPathFactory) -> ModelHolder:
    folder = tmp_path_factory.mktemp("base")
    slot = ModelHolder(Settings(catalog_file=write_base(folder), home=folder), torch.device("cpu"))
    slot.load(slot.find(TINY))
    return slot


@pytest.fixture(scope="module")
def rows() -> RowStore:
    return store_rows(make_rows(4, seed=0))


def group_on(slot: ModelHolder, max_step_tokens: int | None = None) -> ProcessGroup:
    return ProcessGroup(slot, ALONE, max_step_tokens, Watchdog(60))


def test_with_plenty_of_memory_a_step_takes_the_usual_tokens(slot: ModelHolder, rows: RowStore) -> None:
    group = group_on(slot)
    usual = USUAL_TOKENS[slot.base.dtype.itemsize]
    group.join("job", SPEC, rows, {})
    assert group.memory_plan == MemoryPlan(Recompute.NONE, usual)
    assert group.planned is not None
    assert 0 < group.planned.expected_bytes < group.planned.free_bytes == slot.base.budget.free_bytes
    assert group.room_for_adapters == 4 * 1024**3


def test_the_operator_s_tokens_win(slot: ModelHolder, rows: RowStore) -> None:
    group = group_on(slot, max_step_tokens=100)
    group.join("job", SPEC, rows, {})
    assert group.memory_plan == MemoryPlan(Recompute.NONE, 100)


def test_with_little_memory_a_step_takes_fewer_tokens_and_other_adapters_find_no_room(
    slot: ModelHolder, rows: RowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step takes depends on the machine: on its lanes, and on the type that its CPU computes in."""
    budget, load = slot.base.budget, slot.load_of(SPEC, len(rows.longest.tokens_L))
    taken = budget.expected_bytes(load, MemoryPlan(Recompute.LAYERS, FEW_TOKENS))
    assert taken is not None
    little = ceil(taken / (1 - SPARE["cpu"])) + 1
    monkeypatch.setattr(slot.base, "budget", replace(budget, free_bytes=little))
    group = group_on(slot)
    group.join("job", SPEC, rows, {})
    assert FEW_TOKENS <= group.memory_plan.step_tokens < USUAL_TOKENS[slot.base.dtype.itemsize]
    assert group.room_for_adapters < 2 * slot.load_of(SPEC, 64).state.total
    group.leave("job")
    assert group.planned is None


def test_what_cannot_fit_is_refused_before_it_is_attached(
    slot: ModelHolder, rows: RowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot.base, "budget", replace(slot.base.budget, free_bytes=100_000))
    group = group_on(slot)
    with pytest.raises(JobError, match=r"only 0\.1 MB can be used\. Lower adapter\.r") as refused:
        group.join("job", SPEC, rows, {})
    assert refused.value.code == "out_of_memory"
    assert group.planned is None
