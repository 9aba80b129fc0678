"""A step that is much larger than its neighbours' is spread over rounds, and gives what it gives alone."""

import gc
from collections.abc import Iterator
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from core.jobs.spec import Hyperparameters, LoraAdapter, TrainingOptions
from core.methods.low_rank import AdaLoraAdapter
from core.objectives.dpo import Dpo
from core.objectives.kto import Kto
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.objectives import rows_of
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import evaluate, make_spec, make_trainee, randomize
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round, validate
from worker.engine.step.trainee import StepResult, Trainee

pytestmark = pytest.mark.family(2)

MAX_TOKENS = 64
DETERMINISTIC = TrainingOptions(learning_rate=1e-2, deterministic=True)


def huge_job(base: ResidentBase, name: str = "huge", count: int = 48, **changes: Any) -> Trainee:
    """Return a job with two steps an epoch, each of some ten micro-batches."""
    size = Hyperparameters(n_epochs=2, batch_size=count // 2, learning_rate_multiplier=1.0)
    spec = make_spec(hyperparameters=size, **changes)
    return make_trainee(
        base, name, spec, rows_of(spec, count) if "objective" in changes else make_rows(count, 0)
    )


def small_job(base: ResidentBase, name: str, rows: int = 8, **changes: Any) -> Trainee:
    """Return a job with a step for each row."""
    size = Hyperparameters(n_epochs=1, batch_size=1, learning_rate_multiplier=1.0)
    return make_trainee(base, name, make_spec(hyperparameters=size, **changes), make_rows(rows, len(name)))


def one_round(base: ResidentBase, trainees: list[Trainee], max_tokens: int = MAX_TOKENS) -> dict[str, Any]:
    """Run a round of those that have not finished."""
    active = [trainee for trainee in trainees if not trainee.finished]
    results = train_round(PassContext(base, max_tokens), active)
    assert all(isinstance(result, StepResult) for result in results.values()), results
    return results


def into_the_step(base: ResidentBase, huge: Trainee, neighbours: list[Trainee]) -> None:
    """Run rounds until some, and not all, micro-batches of the huge step have been computed."""
    step = huge.step
    while not gathered(huge).any():
        one_round(base, [huge, *neighbours])
    assert huge.step == step
    assert huge.spread is not None
    assert not huge.spread.complete


def gathered(trainee: Trainee) -> Tensor:
    """Return the gradient that the lanes have gathered so far."""
    return torch.stack(trainee.adapter.parameters.lane_gradients).clone()


def values_of(trainee: Trainee) -> Tensor:
    return trainee.adapter.parameters.master.detach().clone()


def alone(base: ResidentBase, trainee: Trainee, steps: int) -> list[float]:
    return [one_round(base, [trainee])[trainee.adapter.name].loss for _ in range(steps)]


def test_small_jobs_end_long_before_the_huge_ones_first_step(base: ResidentBase) -> None:
    huge, small = huge_job(base), [small_job(base, f"small {number}") for number in range(3)]
    for step in range(8):
        results = one_round(base, [huge, *small])
        assert set(results) == {"small 0", "small 1", "small 2"}, step
    assert all(job.finished for job in small)
    assert huge.step == 0
    assert gathered(huge).any(), "the huge job did nothing meanwhile"
    assert set(one_round(base, [huge])) == {"huge"}, "alone, it makes the rest of its step in one round"


def test_no_job_computes_more_than_the_huge_one_over_the_rounds_nor_much_less(base: ResidentBase) -> None:
    huge, small = huge_job(base), small_job(base, "small", rows=400)
    tokens = 0
    while huge.step == 0:
        tokens += len(small.next_rows[0].tokens_L)
        one_round(base, [huge, small])
    own = sum(len(row.tokens_L) for row in huge.rows_after(0))
    assert tokens == pytest.approx(own, abs=MAX_TOKENS)


def test_steps_of_similar_size_are_all_made_in_one_round(base: ResidentBase) -> None:
    jobs = [huge_job(base, "one"), huge_job(base, "other", count=60)]
    assert set(one_round(base, jobs)) == {"one", "other"}


CHANGES: dict[str, dict[str, Any]] = {
    "LoRA with dropout": {"adapter": LoraAdapter(r=4, lora_dropout=0.3)},
    "DoRA": {"adapter": LoraAdapter(r=4, use_dora=True)},
    "DyLoRA": {"adapter": LoraAdapter(r=4, dynamic_rank=True)},
    "AdaLoRA": {"adapter": AdaLoraAdapter(target_r=2, init_r=4, tinit=1, tfinal=1, deltaT=1)},
    "DPO": {"objective": Dpo()},
    "KTO": {"objective": Kto()},
    "DPO, deterministic": {"objective": Dpo(), "training": DETERMINISTIC},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_spread_step_is_the_step_that_the_job_makes_alone(
    base: ResidentBase, changes: dict[str, Any]
) -> None:
    huge, twin = huge_job(base, **changes), huge_job(base, **changes)
    for each in (huge, twin):
        randomize(each.adapter)
    small = small_job(base, "small", rows=400)
    results, rounds = [], 0
    while huge.step < 2:
        results += [result for name, result in one_round(base, [huge, small]).items() if name == "huge"]
        rounds += 1
    expected = [one_round(base, [twin])["huge"] for _ in range(2)]
    assert rounds > 2 * 5, "no step was spread"
    for ours, theirs in zip(results, expected, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
        assert ours.metrics == pytest.approx(theirs.metrics, rel=1e-3, abs=1e-4)
        assert (ours.step, ours.tokens, ours.rank_budget) == (theirs.step, theirs.tokens, theirs.rank_budget)
        assert ours.gradient_norm == pytest.approx(theirs.gradient_norm, rel=1e-3)


@pytest.mark.exhaustive
@pytest.mark.parametrize("objective", [Dpo(), Kto()], ids=["dpo", "kto"])
def test_the_passes_before_a_spread_step_are_spread_too(base: ResidentBase, objective: Any) -> None:
    huge, small = huge_job(base, objective=objective), small_job(base, "small", rows=400)
    looks: list[None] = []
    context = PassContext(base, MAX_TOKENS, abandon=lambda: bool(looks.append(None)))
    micro_batches, before = [], 0
    while huge.step == 0:
        looks.clear()
        train_round(context, [huge, small])
        micro_batches.append(len(looks))
        before += not gathered(huge).any()
    assert max(micro_batches) <= 4, "a round computed much more than the small step and a share as large"
    assert sum(micro_batches[:before]) > before + 10, "the passes before computed nothing"


def test_candidates_share_the_spread_pass_of_their_reference(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = huge_job(base, "first", objective=Dpo()), huge_job(base, "other", objective=Dpo())
    other.references = first.references  # as a sibling's are
    keep = first.references.keep
    kept: list[int] = []

    def note(numbers: Any, logp: Any) -> None:
        kept.append(len(numbers))
        keep(numbers, logp)

    monkeypatch.setattr(first.references, "keep", note)
    small = small_job(base, "small", rows=400)
    rounds = 0
    while not (first.step and other.step):
        one_round(base, [each for each in (first, other) if not each.step] + [small])
        rounds += 1
        assert rounds < 200, "the pass never ends"
    assert rounds > 5
    assert kept == [len(first.rows_after(0))], "the base model computed the same rows twice"


@pytest.mark.parametrize("objective", [Dpo(), Kto()], ids=["dpo", "kto"])
def test_a_round_that_is_abandoned_in_the_pass_before_a_spread_step_changes_no_bit(
    base: ResidentBase, objective: Any
) -> None:
    huge, twin = huge_job(base, objective=objective), huge_job(base, objective=objective)
    small = small_job(base, "small", rows=100)
    for _ in range(3):
        for _ in range(4):
            one_round(base, [huge, small])
        assert not gathered(huge).any()
        assert train_round(PassContext(base, MAX_TOKENS, abandon=lambda: True), [huge, small]) == {}
    assert alone(base, huge, 1) == alone(base, twin, 1)
    assert torch.equal(values_of(huge), values_of(twin))


def test_small_jobs_beside_a_huge_one_are_as_alone(base: ResidentBase) -> None:
    huge, small, twin = huge_job(base), small_job(base, "small"), small_job(base, "small")
    losses = [one_round(base, [huge, small])["small"].loss for _ in range(8)]
    assert losses == pytest.approx(alone(base, twin, 8), rel=1e-4)


def test_evaluations_in_the_middle_of_a_spread_step_change_nothing(base: ResidentBase) -> None:
    """Neighbours are evaluated between any two rounds; a server may ask for the huge job's own state."""
    huge, small = huge_job(base), small_job(base, "small", rows=100)
    into_the_step(base, huge, [small])
    before, values = gathered(huge), values_of(huge)
    context = PassContext(base, MAX_TOKENS)
    validate(context, small, make_rows(5, 9))
    loss = evaluate(context, huge.adapter, make_rows(5, 9)).loss
    assert torch.equal(gathered(huge), before)
    assert loss == evaluate(context, huge_job(base).adapter, make_rows(5, 9)).loss, "the step is not made yet"
    assert torch.equal(values_of(huge), values)


def test_a_checkpoint_in_the_middle_of_a_spread_step_is_that_of_the_step_before(base: ResidentBase) -> None:
    huge, small = huge_job(base), small_job(base, "small", rows=200)
    one_round(base, [huge])
    before = {name: tensor.clone() for name, tensor in huge.state().items()}
    into_the_step(base, huge, [small])
    state = huge.state()
    assert huge.step == 1
    assert state.keys() == before.keys()
    assert all(torch.equal(state[name], before[name]) for name in before)


def test_between_rounds_a_spread_step_holds_no_more_than_its_gradient_had_already(base: ResidentBase) -> None:
    huge, small = huge_job(base), small_job(base, "small", rows=100)
    one_round(base, [small])
    held = bytes_of_tensors()
    into_the_step(base, huge, [small])
    parameters = huge.adapter.parameters.master
    assert bytes_of_tensors() - held < parameters.numel() * parameters.element_size() / 4


def bytes_of_tensors() -> int:
    gc.collect()
    tensors = [each for each in gc.get_objects() if isinstance(each, Tensor) and holds_memory(each)]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
    return sum(storages.values())


def holds_memory(tensor: Tensor) -> bool:
    """Return whether a tensor has bytes; the fake ones of another test in this process have none."""
    return not (isinstance(tensor, FakeTensor) or tensor.is_meta)


@pytest.mark.parametrize("how", ["abandoned", "broken"])
def test_a_spread_step_begins_anew_after_a_round_that_is(base: ResidentBase, how: str) -> None:
    huge, small, twin = huge_job(base), small_job(base, "small", rows=100), huge_job(base)
    into_the_step(base, huge, [small])

    def look() -> bool:
        if how == "broken":
            raise RuntimeError
        return True

    context = PassContext(base, MAX_TOKENS, abandon=look)
    with pytest.raises(RuntimeError) if how == "broken" else nullcontext():
        assert train_round(context, [huge, small]) == {}
    assert not gathered(huge).any()
    assert alone(base, huge, 1) == alone(base, twin, 1)
    assert torch.equal(values_of(huge), values_of(twin))


def test_a_spread_step_begins_anew_if_micro_batches_become_smaller(base: ResidentBase) -> None:
    """Its next micro-batch might not fit into the memory that they are made smaller for."""
    huge, small, twin = huge_job(base), small_job(base, "small", rows=100), huge_job(base)
    into_the_step(base, huge, [small])
    losses = [one_round(base, [huge], MAX_TOKENS // 2)["huge"].loss]
    assert losses == [one_round(base, [twin], MAX_TOKENS // 2)["huge"].loss]
    assert torch.equal(values_of(huge), values_of(twin))


@pytest.fixture
def two_lanes(tiny_folder: Path) -> Iterator[ResidentBase]:
    """The tiny base in bf16 with two lanes, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield ResidentBase(TINY.model_copy(update={"dtype": "bf16"}), tiny_folder, "0" * 64, torch.device("cpu"))
    torch.set_num_threads(before)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "changes",
    [{"adapter": LoraAdapter(r=4, lora_dropout=0.3)}, {"objective": Dpo()}],
    ids=["dropout", "dpo"],
)
def test_a_deterministic_huge_job_gives_the_same_bits_alone_spread_and_resumed(
    two_lanes: ResidentBase, tmp_path: Path, changes: dict[str, Any]
) -> None:
    base, changes = two_lanes, {"training": DETERMINISTIC, **changes}
    hashes = {}

    def note(how: str, job: Trainee) -> None:
        assert job.finished
        job.adapter.save(tmp_path)
        hashes[how] = sha256((tmp_path / WEIGHTS_NAME).read_bytes()).hexdigest()

    def neighbours(*names: str) -> list[Trainee]:
        """Return jobs of different lengths, of which one is deterministic too."""
        return [
            small_job(
                base,
                name,
                rows=30 * len(name),
                training=DETERMINISTIC if name == "c" else TrainingOptions(learning_rate=1e-2),
            )
            for name in names
        ]

    by_itself = huge_job(base, count=24, **changes)
    alone(base, by_itself, 4)
    note("alone", by_itself)

    beside = huge_job(base, count=24, **changes)
    company = neighbours("a" * 10)
    while not beside.finished:
        one_round(base, [*company, beside])
    assert not company[0].finished
    note("beside a small job to the end", beside)

    left = huge_job(base, count=24, **changes)
    into_the_step(base, left, neighbours("b"))
    into_later = neighbours("c", "dd")
    while not left.finished:
        one_round(base, [left, *into_later])
    note("begun beside one, ended beside others and alone", left)

    killed = huge_job(base, count=24, **changes)
    one_round(base, [killed])
    into_the_step(base, killed, neighbours("c", "e"))
    save_file(killed.state(), tmp_path / "state")
    resumed = huge_job(base, count=24, **changes)
    resumed.restore(killed.step, load_file(tmp_path / "state"))
    company = neighbours("f" * 10, "c")
    while not resumed.finished:
        one_round(base, [company[0], resumed, company[1]])
    note("killed in the middle of a spread step, and resumed in another cohort", resumed)

    assert len(set(hashes.values())) == 1, hashes
