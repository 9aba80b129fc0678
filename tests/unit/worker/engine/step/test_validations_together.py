"""Adapters that are evaluated in one pass get what each gets alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from core.jobs.spec import LoraAdapter, TrainingOptions
from core.methods.low_rank import AdaLoraAdapter
from core.objectives.dpo import Dpo
from core.objectives.kto import Kto
from core.objectives.orpo import Orpo
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.objectives import rows_of
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import make_spec, make_trainee, randomize
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.grouping import Group
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.batch.pack import pack_group
from worker.engine.step import passes
from worker.engine.step.context import PassContext
from worker.engine.step.loop import Validation, validate_together
from worker.engine.step.totals import Evaluation
from worker.engine.step.trainee import Trainee

MAX_TOKENS = 200  # holds the rows of several small jobs
DETERMINISTIC = TrainingOptions(learning_rate=1e-2, deterministic=True)

CHANGES: dict[str, dict[str, Any]] = {
    "LoRA": {"adapter": LoraAdapter(r=2)},
    "LoRA with dropout": {"adapter": LoraAdapter(r=4, lora_dropout=0.3)},
    "DoRA": {"adapter": LoraAdapter(r=4, use_dora=True)},
    "DyLoRA": {"adapter": LoraAdapter(r=4, dynamic_rank=True)},
    "AdaLoRA": {"adapter": AdaLoraAdapter(target_r=2, init_r=4, tinit=1, tfinal=1, deltaT=1)},
    "some layers": {"adapter": LoraAdapter(r=3, target_modules=["layers.1.mlp.down_proj", "q_proj"])},
    "DPO": {"objective": Dpo()},
    "KTO": {"objective": Kto()},
    "ORPO": {"objective": Orpo()},
    "deterministic": {"training": DETERMINISTIC},
}


def validation_of(base: ResidentBase, name: str, seed: int = 0, **changes: Any) -> Validation:
    """Return a validation of a job with trained values: of some rows, and of the first four of them."""
    spec = make_spec(**changes)
    trainee = make_trainee(base, name, spec, rows_of(spec, 4))
    randomize(trainee.adapter)
    rows = rows_of(spec, 4, seed + 1) if "objective" in changes else make_rows(6, seed + 1)
    return Validation(trainee, rows, [len(rows), 4])


def evaluated(
    base: ResidentBase, *validations: Validation, max_tokens: int = MAX_TOKENS
) -> tuple[list[list[Evaluation]], int]:
    """Return the evaluations, and the number of looks before micro-batches."""
    looks: list[None] = []
    context = PassContext(base, max_tokens, abandon=lambda: bool(looks.append(None)))
    return validate_together(context, validations), len(looks)


def test_each_gets_what_it_gets_alone_with_all_objectives_and_methods(base: ResidentBase) -> None:
    validations = [
        validation_of(base, name, number, **changes) for number, (name, changes) in enumerate(CHANGES.items())
    ]
    alone = {each.trainee.adapter.name: evaluated(base, each) for each in validations}
    together, looks = evaluated(base, *validations)
    for ours, (name, ((expected,), _)) in zip(together, alone.items(), strict=True):
        assert len(ours) == len(expected) == 2, name
        for mine, theirs in zip(ours, expected, strict=True):
            assert mine.loss == pytest.approx(theirs.loss, rel=1e-5), name
            assert mine.accuracy == theirs.accuracy, name
            assert mine.metrics == pytest.approx(theirs.metrics, rel=1e-4, abs=1e-6), name
    losses = {evaluation.loss for found in together for evaluation in found}
    assert len(losses) == 2 * len(CHANGES), "each has rows and values of its own"
    assert looks < sum(count for _, count in alone.values()), "no micro-batch was shared"


@pytest.fixture
def two_lanes(tiny_folder: Path) -> Iterator[ResidentBase]:
    """The tiny base in bf16 with two lanes, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield ResidentBase(TINY.model_copy(update={"dtype": "bf16"}), tiny_folder, "0" * 64, torch.device("cpu"))
    torch.set_num_threads(before)


@pytest.mark.family(1)
@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize("objective", [{}, {"objective": Dpo()}], ids=["supervised", "dpo"])
def test_a_deterministic_job_gets_the_same_bits_beside_any_neighbours(
    two_lanes: ResidentBase, joins: bool, objective: dict[str, Any]
) -> None:
    base = two_lanes
    assert base.joins_jobs, "the machine multiplies rows differently when there are more of them"
    base.joins_jobs = joins
    mine = validation_of(base, "mine", training=DETERMINISTIC, **objective)
    neighbours = [
        validation_of(base, name, number, **CHANGES[name])
        for number, name in enumerate(("LoRA with dropout", "DPO", "deterministic", "some layers"), 5)
    ]
    (alone,), _ = evaluated(base, mine)
    for company in ([neighbours[0], mine], [mine, *neighbours], [*neighbours[1:3], mine, neighbours[3]]):
        together, _ = evaluated(base, *company)
        assert together[company.index(mine)] == alone


@pytest.mark.parametrize("objective", [{}, {"objective": Dpo()}], ids=["supervised", "dpo"])
def test_a_deterministic_job_is_cut_into_the_micro_batches_that_it_has_alone(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch, objective: dict[str, Any]
) -> None:
    """Its bits follow from its cuts, but on a model as small as this hardly any cut moves a bit."""
    cuts: list[list[tuple[str, int]]] = []

    def note(group: Group, device: torch.device) -> MicroBatch:
        cuts.append([(placed.job.adapter, placed.row.line) for placed in group])
        return pack_group(group, device)

    monkeypatch.setattr(passes, "pack_group", note)
    mine = validation_of(base, "mine", training=DETERMINISTIC, **objective)
    others = [validation_of(base, name, 5, **CHANGES[name]) for name in ("LoRA", "some layers")]
    roomy = 4 * MAX_TOKENS  # one micro-batch would hold all rows
    evaluated(base, mine, max_tokens=roomy)  # the first time, it also computes the reference
    cuts.clear()
    evaluated(base, mine, max_tokens=roomy)
    alone = list(cuts)
    cuts.clear()
    evaluated(base, others[0], mine, others[1], max_tokens=roomy)
    assert [cut for cut in cuts if ("mine", 1) in cut or cut[0][0] == "mine"] == alone
    assert len(cuts) > len(alone)


def test_an_evaluation_beside_others_moves_no_value_and_leaves_no_gradient(base: ResidentBase) -> None:
    validations = [validation_of(base, name, **CHANGES[name]) for name in ("LoRA", "DPO", "DyLoRA")]
    before = [values_of(each.trainee).clone() for each in validations]
    evaluated(base, *validations)
    for validation, values in zip(validations, before, strict=True):
        assert torch.equal(values_of(validation.trainee), values)
        assert not torch.stack(validation.trainee.adapter.parameters.lane_gradients).any()


def values_of(trainee: Trainee) -> torch.Tensor:
    return trainee.adapter.parameters.master.detach()
