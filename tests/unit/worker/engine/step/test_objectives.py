"""Objectives beyond cross-entropy: each equals its paper's formula, left to autograd through PEFT's model."""

from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.jobs.spec import Hyperparameters, LoraAdapter
from core.objectives.dpo import Dpo
from core.objectives.kto import Kto
from core.objectives.orpo import Orpo
from core.objectives.simpo import Simpo
from tests.fixtures.engine.objectives import (
    assert_a_round_gives,
    by_the_paper,
    pairs,
    rows_of,
)
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import make_spec, make_trainee, peft_loss, randomize, train
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.objectives.dpo import DpoLoss
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round, validate
from worker.engine.step.objective_pass import ObjectiveRows, complete_references
from worker.engine.step.references import References
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows.row import Row

pytestmark = pytest.mark.family(3)

MAX_TOKENS = 64
EIGHT = Hyperparameters(n_epochs=2, batch_size=8, learning_rate_multiplier=1.0)
OBJECTIVES = [
    Dpo(beta=0.3),
    Orpo(beta=0.5),
    Simpo(beta=2.0, gamma=0.7),
    Kto(beta=0.4, desirable_weight=1.5, undesirable_weight=0.5),
]

Rewards = tuple[Tensor, Tensor]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.type)
@pytest.mark.parametrize("max_tokens", [32, MAX_TOKENS, 10_000], ids=["pairs cut", "in pieces", "in one"])
def test_loss_and_gradient_are_those_of_the_paper(
    base: ResidentBase, objective: Any, max_tokens: int
) -> None:
    spec = make_spec(hyperparameters=EIGHT, objective=objective)
    trainee = make_trainee(base, "job", spec, rows_of(spec, 12))
    randomize(trainee.adapter)
    model = trainee.adapter.plain_model
    model.set_adapter("default")
    expected, metrics = by_the_paper(objective, model, trainee.next_rows)
    result = assert_a_round_gives(base, trainee, expected, max_tokens)
    assert {name: result.metrics[name] for name in metrics} == pytest.approx(metrics, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("objective", "max_tokens", "micro_batches"),
    [
        (Simpo(), 10_000, 1),
        (Dpo(), 10_000, 2),  # the references take a pass of their own
        (Kto(), 10_000, 3),
        (Orpo(), MAX_TOKENS, 8),  # as many as there are pairs: each of them fits
        (Orpo(), 2, 32),  # no pair fits, so each row is computed twice
    ],
)
def test_pairs_that_fit_are_computed_once(
    base: ResidentBase, objective: Any, max_tokens: int, micro_batches: int
) -> None:
    spec = make_spec(hyperparameters=EIGHT, objective=objective)
    trainee = make_trainee(base, "job", spec, rows_of(spec, 8))
    asked: list[None] = []
    context = PassContext(base, max_tokens, abandon=lambda: bool(asked.append(None)))
    train_round(context, [trainee])
    assert len(asked) <= micro_batches


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.type)
def test_a_validation_is_the_objective_over_all_examples(base: ResidentBase, objective: Any) -> None:
    spec = make_spec(objective=objective)
    trainee = make_trainee(base, "job", spec, rows_of(spec, 12))
    randomize(trainee.adapter)
    held_out = rows_of(spec, 5, seed=1)
    model = trainee.adapter.plain_model
    model.set_adapter("default")
    with torch.no_grad():
        expected, metrics = by_the_paper(objective, model, held_out)
    for _ in range(2):  # the second time, what the base makes of the rows is known
        found = validate(PassContext(base, MAX_TOKENS), trainee, held_out)
        assert found.loss == pytest.approx(expected.item(), rel=1e-5)
        assert {name: found.metrics[name] for name in metrics} == pytest.approx(metrics, rel=1e-4, abs=1e-5)


@pytest.mark.exhaustive
def test_jobs_of_different_objectives_train_together_as_each_does_alone(base: ResidentBase) -> None:
    specs = [make_spec(), *(make_spec(seed=seed, objective=one) for seed, one in enumerate(OBJECTIVES))]
    rows = [make_rows(12, 0), *(rows_of(spec, 12) for spec in specs[1:])]

    def trainees(name: str) -> list[Trainee]:
        jobs = [
            make_trainee(base, f"{name}{number}", spec, of)
            for number, (spec, of) in enumerate(zip(specs, rows, strict=True))
        ]
        for job in jobs:
            randomize(job.adapter)
        return jobs

    alone = {job.adapter.name: train(base, [job], 4)[job.adapter.name] for job in trainees("alone")}
    beside = trainees("beside")
    together: dict[str, list[float]] = {job.adapter.name: [] for job in beside}
    while active := [job for job in beside if job.step < 4]:  # the larger steps are spread over rounds
        for name, losses in train(base, active, 1).items():
            together[name] += losses
    for number in range(len(specs)):
        assert together[f"beside{number}"] == pytest.approx(alone[f"alone{number}"], rel=1e-4), number


@pytest.mark.parametrize("stopped_after", [2, 4], ids=["in the first epoch", "in the second"])
def test_a_resumed_dpo_job_ends_with_the_same_adapter_to_the_bit(
    base: ResidentBase, tmp_path: Path, stopped_after: int
) -> None:
    spec, rows = make_spec(objective=Dpo()), pairs(12)
    whole = make_trainee(base, "whole", spec, rows)
    train(base, [whole], 6)
    first_part = make_trainee(base, "first_part", spec, rows)
    train(base, [first_part], stopped_after)
    first_part.adapter.save(tmp_path)
    resumed = make_trainee(base, "resumed", spec, rows)
    resumed.restore(stopped_after, first_part.state())
    train(base, [resumed], 6 - stopped_after)
    assert resumed.finished
    assert torch.equal(resumed.adapter.parameters.master, whole.adapter.parameters.master)


def test_training_on_pairs_tells_them_apart(base: ResidentBase) -> None:
    twenty = Hyperparameters(n_epochs=20, batch_size=4, learning_rate_multiplier=1.0)
    trainee = make_trainee(base, "job", make_spec(hyperparameters=twenty, objective=Dpo()), pairs(4))
    (first,) = train_round(PassContext(base, MAX_TOKENS), [trainee]).values()
    train(base, [trainee], 18)
    (last,) = train_round(PassContext(base, MAX_TOKENS), [trainee]).values()
    assert isinstance(first, StepResult)
    assert isinstance(last, StepResult)
    assert first.loss == pytest.approx(log(2), abs=1e-4), "the model begins as its own reference"
    assert last.loss < 0.5 * log(2)
    assert last.metrics["rewards/accuracies"] == 1


def test_what_the_base_makes_of_a_row_is_computed_once(base: ResidentBase) -> None:
    trainee = make_trainee(base, "job", make_spec(objective=Dpo()), pairs(12))
    train(base, [trainee], trainee.steps_per_epoch)
    assert trainee.references.missing(range(24)) == []
    resumed = make_trainee(base, "resumed", make_spec(objective=Dpo()), pairs(12))
    resumed.step = trainee.steps_per_epoch
    missing = resumed.references.missing(resumed.numbers_after(resumed.step))
    assert len(missing) > 1, "among the rows of their first steps"


def test_the_bare_base_is_the_reference_whatever_the_adapter(base: ResidentBase) -> None:
    adapter = TrainableAdapter(base, "job", LoraAdapter(r=4), 0)
    found = []
    for change in (False, True):
        if change:
            randomize(adapter)
            adapter.parameters.refresh()
        references = References()
        part = ObjectiveRows(adapter, DpoLoss(Dpo()), pairs(3), range(6), references)
        complete_references(PassContext(base, MAX_TOKENS), part)
        found.append(references.of(range(6)))
    assert torch.equal(*found)


def test_an_abandoned_step_leaves_nothing_behind(base: ResidentBase) -> None:
    spec = make_spec(objective=Dpo())
    trainee, other = (make_trainee(base, name, spec, pairs(12)) for name in ("job", "other"))
    for allowed in (1, 3, 3):  # among the references, the scores, the gradients
        answers = iter([False] * allowed)
        context = PassContext(base, MAX_TOKENS, abandon=lambda answers=answers: next(answers, True))
        assert train_round(context, [trainee]) == {}
    assert train(base, [trainee], 3)["job"] == train(base, [other], 3)["other"]
    assert torch.equal(trainee.adapter.parameters.master, other.adapter.parameters.master)


# Weights of messages


def weighted(rows: list[Row]) -> list[Row]:
    """Every second row's tokens weigh a half or a quarter."""
    weights = [np.where(np.arange(len(row.tokens_L)) % 2, 0.5, 0.25).astype(np.float32) for row in rows]
    return [
        replace(row, weights_L=weights_L) if number % 2 else row
        for number, (row, weights_L) in enumerate(zip(rows, weights, strict=True))
    ]


def test_messages_count_by_their_weights(base: ResidentBase) -> None:
    trainee = make_trainee(base, "job", make_spec(hyperparameters=EIGHT), weighted(make_rows(12, 0)))
    randomize(trainee.adapter)
    model = trainee.adapter.plain_model
    model.set_adapter("default")
    total = torch.zeros(())
    for row in trainee.next_rows:
        tokens = torch.from_numpy(row.tokens_L).long()
        nll = F.cross_entropy(model(input_ids=tokens[None]).logits[0, :-1], tokens[1:], reduction="none")
        weights = torch.ones(len(tokens)) if row.weights_L is None else torch.from_numpy(row.weights_L)
        total = total + (nll * weights[1:] * torch.from_numpy(row.learnt_L[1:])).sum()
    expected = total / sum(row.weight for row in trainee.next_rows)
    assert_a_round_gives(base, trainee, expected)


def test_weights_of_a_neighbours_messages_change_nothing(base: ResidentBase) -> None:
    rows = make_rows(12, 0)
    trainee, neighbour = (make_trainee(base, name, make_spec(), rows) for name in ("job", "neighbour"))
    neighbour.rows = weighted(rows)
    randomize(trainee.adapter)
    model = trainee.adapter.plain_model
    model.set_adapter("default")
    expected = peft_loss(model, trainee.next_rows).item()
    results = train_round(PassContext(base, MAX_TOKENS), [trainee, neighbour])
    assert results["job"].loss == pytest.approx(expected, rel=1e-5)  # type: ignore[union-attr]
