"""Who joins a cohort never changes the memory plan of those who train there, and nobody fails beside them."""

from dataclasses import replace

import pytest

from core.errors import JobError
from core.estimates.memory import step_memory
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.planning import ENOUGH_TOKENS, SPARE, USUAL_TOKENS
from core.estimates.shapes import BF16, Device, Load, ModelShape
from core.methods.low_rank import LoraAdapter
from worker.engine.device.budget import Budget
from worker.trainer.devices.cohort_plan import CohortPlan

MODEL = ModelShape(
    layers=30,
    hidden=576,
    inner=1536,
    heads=9,
    key_heads=3,
    head_size=64,
    vocabulary=49152,
    tied=True,
)
USUAL = USUAL_TOKENS[BF16]
LONG = 4096  # tokens of a row that takes more than a usual micro-batch
NOTHING = Budget(MODEL, free_bytes=1_000_000, number_bytes=BF16, device="cpu", lanes=1)


def load_of(longest_row: int = 64, device: Device = "cpu") -> Load:
    return Load.of(MODEL, [LoraAdapter(r=16)], longest_row, device)


def budget_for(load: Load, memory_plan: MemoryPlan, jobs: int = 1) -> Budget:
    """Return the budget into which so many jobs like `load` just fit with this plan."""
    together = sum([load] * (jobs - 1), load)
    step = step_memory(
        MODEL, together, memory_plan.recompute, max(memory_plan.step_tokens, load.longest_row)
    ).peak
    free = round((together.state.total + step) / (1 - SPARE[load.device])) + 1
    return Budget(MODEL, free, BF16, load.device, load.lanes)


def join(plan: CohortPlan, budget: Budget, name: str, load: Load) -> None:
    plan.add(name, load, plan.plan_with(budget, load))


@pytest.fixture
def plan() -> CohortPlan:
    return CohortPlan(tuple(Recompute), None)


def test_where_not_even_the_usual_rows_fit_there_is_no_room_and_who_joins_first_is_told_why(
    plan: CohortPlan,
) -> None:
    assert plan.room(NOTHING) == 0
    assert plan.admits(NOTHING, [load_of()]), "it may try"
    with pytest.raises(JobError, match="Beside the base model"):
        plan.plan_with(NOTHING, load_of())


@pytest.mark.parametrize("recompute", [Recompute.NONE, Recompute.GATE_UP, Recompute.LAYERS])
def test_a_joiner_that_would_make_its_neighbour_compute_otherwise_waits_until_it_has_left(
    plan: CohortPlan, recompute: Recompute
) -> None:
    memory_plan = MemoryPlan(recompute, USUAL)
    budget = budget_for(load_of(), memory_plan, jobs=2)
    join(plan, budget, "first", load_of())
    assert plan.memory_plan == memory_plan
    assert plan.admits(budget, [load_of()])
    assert not plan.admits(budget, [load_of(), load_of()]), "the candidates of a job join together"
    assert not plan.admits(budget, [load_of(LONG)]), "its rows need another plan"
    plan.remove("first")
    assert plan.admits(budget, [load_of(LONG)])


def test_a_cohort_keeps_its_memory_plan_until_it_is_empty(plan: CohortPlan) -> None:
    memory_plan = MemoryPlan(Recompute.GATE_UP, USUAL)
    scarce = budget_for(load_of(), memory_plan, jobs=2)
    plenty = replace(scarce, free_bytes=10 * scarce.free_bytes)
    join(plan, scarce, "first", load_of())
    join(plan, plenty, "second", load_of())
    plan.remove("first")
    assert plan.memory_plan == memory_plan
    plan.remove("second")
    join(plan, plenty, "third", load_of())
    assert plan.memory_plan == MemoryPlan(Recompute.NONE, USUAL)


def test_the_candidates_of_a_job_alone_may_have_another_plan_together(plan: CohortPlan) -> None:
    budget = budget_for(load_of(), MemoryPlan(Recompute.NONE, USUAL))
    join(plan, budget, "job#0", load_of())
    join(plan, budget, "job#1", load_of())
    assert plan.memory_plan == MemoryPlan(Recompute.GATE_UP, USUAL)


def test_a_gpu_shrinks_micro_batches_for_a_joiner_but_computes_nothing_more_again(plan: CohortPlan) -> None:
    load = load_of(device="gpu")
    budget = budget_for(load, MemoryPlan(Recompute.NONE, ENOUGH_TOKENS), jobs=2)
    join(plan, budget, "first", load)
    alone = plan.memory_plan
    assert alone.step_tokens > ENOUGH_TOKENS
    join(plan, budget, "second", load)
    assert plan.memory_plan == MemoryPlan(Recompute.NONE, ENOUGH_TOKENS)
    assert not plan.admits(budget, [load])


def test_who_joins_on_a_gpu_must_find_room_on_its_host_too(plan: CohortPlan) -> None:
    load = load_of(LONG, device="gpu")
    together = load + load
    device = budget_for(load, MemoryPlan(Recompute.LAYERS_FROM_HOST, ENOUGH_TOKENS), jobs=2)
    on_host = step_memory(MODEL, together, Recompute.LAYERS_FROM_HOST, LONG).on_host
    host_bytes = round(on_host / (1 - SPARE["cpu"])) + 1
    enough = replace(device, host_bytes=host_bytes)
    join(plan, enough, "first", load)
    assert plan.memory_plan.recompute is Recompute.LAYERS_FROM_HOST
    assert "again in the backward pass, from inputs in host memory" in str(plan.planned(enough))
    assert plan.admits(enough, [load])
    assert not plan.admits(replace(device, host_bytes=host_bytes // 2), [load])


def test_the_operator_s_tokens_stay(plan: CohortPlan) -> None:
    plan = CohortPlan(tuple(Recompute), 100)
    budget = budget_for(load_of(), MemoryPlan(Recompute.NONE, 100), jobs=2)
    for name in ("first", "second"):
        assert plan.admits(budget, [load_of()])
        join(plan, budget, name, load_of())
        assert plan.memory_plan == MemoryPlan(Recompute.NONE, 100)
    assert not plan.admits(budget, [load_of()])
