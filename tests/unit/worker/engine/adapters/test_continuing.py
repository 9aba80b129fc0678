"""A job that continues from a published adapter, of any method, begins where the published files are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from core.errors import JobError
from core.jobs.spec import Hyperparameters, JobSpec
from core.methods.method import with_seeds
from core.methods.registry import AdapterOptions
from core.objectives.dpo import Dpo
from tests.fixtures.engine.architectures import FAST, TINY
from tests.fixtures.engine.methods import BESIDE, CASES, METHODS, move
from tests.fixtures.engine.objectives import pairs
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import IN_A_PIECE, MAX_TOKENS, evaluate, make_spec, train
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.attach import attach
from worker.engine.adapters.published import first_values, read_published
from worker.engine.base.base_model import ResidentBase
from worker.engine.start.initial_values import initial_values
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row

pytestmark = pytest.mark.family(2)

ROWS = make_rows(6, 0)
LOW_RANK: dict[str, dict[str, Any]] = {
    "lora with patterns": {"r": 4, "use_rslora": True, "rank_pattern": {"q_proj": 2}},
    "lora dora": {"r": 4, "use_dora": True},
    "lora pissa": {"r": 3, "init_lora_weights": "pissa", "use_rslora": True, "alpha_pattern": {"q_proj": 3}},
    "lora olora": {"r": 4, "init_lora_weights": "olora", "rank_pattern": {"q_proj": 2}},
    "lora corda": {"r": 4, "init_lora_weights": "corda"},
    "lora eva": {"r": 4, "init_lora_weights": "eva"},
    "lora ga": {"r": 4, "init_lora_weights": "lora_ga"},
    "lora invoked": {"r": 4, "alora_invocation_tokens": [5]},
    "adalora": {"init_r": 4, "target_r": 2, "tfinal": 1},
}
VARIANTS = (
    "lokr with patterns",
    "fourierft anywhere",
    "shira of some",
    "supertuning beside a lora",
    "unilora with its choice saved",
    *BESIDE,
)
UNPUBLISHED = ("p_tuning",)
CONTINUED = [*LOW_RANK, *(name for name in (*METHODS, *VARIANTS) if name not in UNPUBLISHED), "full"]
QUICK = ("lora eva", "adalora", "lokr with patterns", "prompt_tuning", "full")
EACH = [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CONTINUED]


def spec_of(case: str, seed: int = 3, **changes: Any) -> JobSpec:
    options = {"type": case.partition(" ")[0], **({} | LOW_RANK | CASES).get(case, {})}
    adapter = TypeAdapter(AdapterOptions).validate_python(with_seeds(options, 3))
    return make_spec(adapter=adapter, seed=seed, **changes)


def trainee_of(base: ResidentBase, spec: JobSpec, rows: list[Row], published: Any = None) -> Trainee:
    """Attach as a process group does: with the values that are known."""
    known = first_values(spec.adapter, published or {})
    first = initial_values(base, spec, rows, known, lambda: False)
    trainee = Trainee(attach(base, "job", spec, 4, initial=first), spec, rows)
    if published is not None:
        trainee.take_parent(published)
    return trainee


def loss_of(base: ResidentBase, trainee: Trainee) -> float:
    trainee.adapter.parameters.refresh()
    return evaluate(PassContext(base, IN_A_PIECE), trainee.adapter, ROWS).loss


def trained(base: ResidentBase, case: str, folder: Path) -> Trainee:
    parent = trainee_of(base, spec_of(case), ROWS)
    move(parent, 0.05 if case == "full" else 0.5)
    if parent.adapter.rank_budget is not None:
        train(base, [parent], 4, IN_A_PIECE)  # so that ranks are removed
    parent.adapter.save(folder)
    return parent


@pytest.mark.parametrize("case", EACH)
def test_the_first_loss_is_that_of_the_published_adapter_and_the_job_learns_on(
    base: ResidentBase, tmp_path: Path, case: str
) -> None:
    parent = trained(base, case, tmp_path / "parent")
    published = read_published(tmp_path / "parent")
    job = trainee_of(base, spec_of(case, seed=4), ROWS, published)
    expected = loss_of(base, parent)
    assert loss_of(base, job) == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(loss_of(base, trainee_of(base, spec_of(case), ROWS)), rel=1e-5)

    job.adapter.save(tmp_path / "job")
    again = read_published(tmp_path / "job")
    assert again.keys() == published.keys()
    assert all(torch.allclose(again[name], published[name], atol=1e-6) for name in published)
    train(base, [job], 1, IN_A_PIECE)
    assert job.step == 1


@pytest.mark.parametrize("case", ["lora pissa", "adalora", "loha", "full"])
def test_the_reference_is_the_parent_also_after_a_resume(
    base: ResidentBase, tmp_path: Path, case: str
) -> None:
    two = Hyperparameters(n_epochs=2, batch_size=2, learning_rate_multiplier=1.0)
    spec = spec_of(case, objective=Dpo(), hyperparameters=two)
    rows = pairs(4)
    parent = trained(base, case, tmp_path)
    published = read_published(tmp_path)
    job = trainee_of(base, spec, rows, published)
    reference = job.parent_values
    assert reference is not None
    train(base, [job], 1, IN_A_PIECE)
    state = {name: part.clone() for name, part in job.state().items()}
    resumed = trainee_of(base, spec, rows)
    resumed.restore(1, state)
    resumed.take_parent(published)
    assert torch.equal(resumed.adapter.parameters.master, job.adapter.parameters.master)
    assert resumed.parent_values is not None
    with resumed.adapter.parameters.holding(resumed.parent_values):
        assert loss_of(base, resumed) == pytest.approx(loss_of(base, parent), rel=1e-5)


@pytest.mark.parametrize(
    "case", ["lora with patterns", pytest.param("lora pissa", marks=pytest.mark.slow), "loha", "full"]
)
def test_a_job_that_is_saved_while_its_reference_is_computed_is_saved_as_itself(
    base: ResidentBase, tmp_path: Path, case: str
) -> None:
    spec, rows = spec_of(case, objective=Dpo()), pairs(8)
    trained(base, case, tmp_path / "parent")
    published = read_published(tmp_path / "parent")
    twin, job = (trainee_of(base, spec, rows, published) for _ in range(2))
    for trainee in (twin, job):
        move(trainee, 0.02)  # from here on it differs from its parent
    state = {name: part.clone() for name, part in job.state().items()}
    job.adapter.save(tmp_path / "before")
    own = read_published(tmp_path / "before")
    assert any(not torch.equal(own[name], published[name]) for name in own)
    looks = 0

    def save() -> bool:
        nonlocal looks
        looks += 1
        assert all(torch.equal(part, state[name]) for name, part in job.state().items())
        job.adapter.save(tmp_path / str(looks))
        saved = read_published(tmp_path / str(looks))
        assert all(torch.equal(part, own[name]) for name, part in saved.items())
        return False

    train_round(PassContext(base, MAX_TOKENS, abandon=save), [job])
    train_round(PassContext(base, MAX_TOKENS), [twin])
    assert looks > 2
    assert torch.equal(job.adapter.parameters.master, twin.adapter.parameters.master), "and it goes on"


@pytest.fixture(scope="module")
def in_bf16(tmp_path_factory: pytest.TempPathFactory) -> ResidentBase:
    folder = tmp_path_factory.mktemp("bf16")
    save_model(FAST["llama"](), folder)
    return ResidentBase(TINY.model_copy(update={"dtype": "bf16"}), folder, "0" * 64, torch.device("cpu"))


@pytest.mark.parametrize("case", ["ln_tuning", "full"])
def test_weights_that_train_in_bf16_begin_with_the_published_ones(
    in_bf16: ResidentBase, tmp_path: Path, case: str
) -> None:
    trained(in_bf16, case, tmp_path / "parent")
    published = read_published(tmp_path / "parent")
    trainee_of(in_bf16, spec_of(case), ROWS, published).adapter.save(tmp_path / "job")
    again = read_published(tmp_path / "job")
    assert all(torch.equal(again[name], published[name]) for name in published)


@pytest.mark.parametrize(
    ("case", "parent"),
    [("loha", "lokr"), ("lora dora", "lora with patterns"), ("adalora", "lora dora"), ("full", "ia3")],
)
def test_an_adapter_of_another_kind_is_refused(
    base: ResidentBase, tmp_path: Path, case: str, parent: str
) -> None:
    trained(base, parent, tmp_path)
    with pytest.raises(JobError, match="another adapter") as refused:
        trainee_of(base, spec_of(case), ROWS, read_published(tmp_path))
    assert (refused.value.code, refused.value.param) == ("invalid_adapter", "model")
