"""The processes of one trainer train together only with the same weights and the same type."""

from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar, cast

import pytest
import torch

from core.errors import JobError
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.jobs.spec import Hyperparameters, JobSpec
from core.settings import Settings
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.models.tiny import TINY, write_base
from worker.device.model_holder import ModelHolder
from worker.device.watchdog import Watchdog
from worker.engine.base.loading import compute_dtype
from worker.engine.step.processes import ALONE, GroupLost, Processes
from worker.rows.row_store import store_rows
from worker.trainer.devices.orders import NO_ORDER
from worker.trainer.devices.process_group import ProcessGroup

T = TypeVar("T")

CPU = torch.device("cpu")
SPEC = JobSpec(
    base_model=TINY,
    seed=1,
    hyperparameters=Hyperparameters(n_epochs=1, batch_size=1, learning_rate_multiplier=1),
)


class Second(Processes):
    """A second process. The first one orders it to load the base model, and then dismisses it.

    The first one has `weights` and `dtype` if they are given, otherwise the same.
    """

    number = 1

    def __init__(self, weights: str | None = None, dtype: torch.dtype | None = None) -> None:
        self.weights, self.dtype = weights, dtype
        self.orders = iter([("_load", (SPEC,)), ("dismiss", ())])

    def broadcast(self, value: T) -> T:
        if value == NO_ORDER:
            return cast(T, next(self.orders))
        weights, dtype = cast(tuple[str, torch.dtype], value)
        return cast(T, (self.weights or weights, self.dtype or dtype))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


def load_beside(processes: Processes, catalog: Path) -> ModelHolder:
    settings = Settings(catalog_file=catalog, home=catalog.parent)
    holder = ModelHolder(settings, CPU)
    ProcessGroup(holder, processes, None, Watchdog(60)).follow()
    return holder


class OneOfTwo(Processes):
    """The first of two processes. It notes its orders, which nobody else hears."""

    size = 2

    def __init__(self) -> None:
        self.orders: list[object] = []

    def broadcast(self, value: T) -> T:
        self.orders.append(value)
        return value


@pytest.mark.parametrize(("processes", "asked"), [(ALONE, True), (OneOfTwo(), False)])
def test_only_a_process_alone_is_asked_whether_to_abandon_a_pass(processes: Processes, asked: bool) -> None:
    """The question may make jobs leave: an order, which no other process expects in the middle of a pass."""
    holder = cast(ModelHolder, SimpleNamespace(base=None))
    group = ProcessGroup(holder, processes, None, Watchdog(60))
    group.plan.add("job", None, MemoryPlan(Recompute.NONE, 10))
    questions: list[None] = []

    def abandon() -> bool:
        questions.append(None)
        return True

    with group.pass_context(abandon) as context:
        assert context.abandon() is asked
        assert len(questions) == asked
        assert context.processes is processes
        assert context.max_tokens == 10


def test_an_order_goes_to_all_processes_without_what_concerns_the_first_alone() -> None:
    processes = OneOfTwo()
    group = ProcessGroup(cast(ModelHolder, SimpleNamespace(base=None)), processes, None, Watchdog(60))
    group.leave("job")
    with pytest.raises(GroupLost, match="This process alone met Abandoned"):
        group.train_round(["job"], abandon=lambda: True)
    assert processes.orders == [("leave", ("job",)), ("train_round", (["job"],))]


@pytest.mark.family(1)
@pytest.mark.parametrize(
    ("asked", "expected"), [("auto", "none"), ("layers", "layers"), ("layers_from_host", "layers")]
)
def test_an_operator_decides_what_is_computed_again(catalog: Path, asked: str, expected: str) -> None:
    """On a CPU, which is its own host, inputs never wait elsewhere."""
    settings = Settings(recompute=asked, catalog_file=catalog, home=catalog.parent)  # type: ignore[arg-type]
    holder = ModelHolder(settings, CPU)
    holder.load(holder.find(TINY))
    group = ProcessGroup(holder, ALONE, None, Watchdog(60), settings.recompute)
    group.join("job", SPEC, store_rows(make_rows(4, seed=0)), {})
    with group.pass_context(lambda: False) as context:
        assert context.recompute is Recompute(expected)


def test_the_same_weights_in_the_same_type_are_loaded(catalog: Path) -> None:
    assert load_beside(Second(), catalog).resident == TINY


def test_other_weights_are_refused(catalog: Path) -> None:
    with pytest.raises(JobError, match="hold different weights of tiny"):
        load_beside(Second(weights="0" * 64), catalog)


def test_another_type_is_refused_since_steps_would_be_cut_in_other_places(catalog: Path) -> None:
    other = torch.float32 if compute_dtype(CPU) == torch.bfloat16 else torch.bfloat16
    with pytest.raises(JobError, match=r"different types\. Declare its dtype"):
        load_beside(Second(dtype=other), catalog)
