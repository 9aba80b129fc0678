"""Warnings on made-up losses: which are given and when, and that noise alone gives none."""

from dataclasses import asdict
from json import dumps, loads
from math import inf

import numpy as np
import pytest

from core.jobs.spec import Hyperparameters, JobSpec, TrainingOptions
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.vectors import Ia3Adapter
from core.objectives.dpo import Dpo
from worker.trainer.report.warnings import Curves, TrainingWarning, before_search, before_training

pytestmark = pytest.mark.family(6)

EVAL_STEPS = 10
STEPS_PER_EPOCH = 25


def told(
    training: np.ndarray, validation: np.ndarray, warmup_steps: int = 0, resumed_after: int = 0
) -> list[TrainingWarning]:
    """Return the warnings for training losses of each step, and validation losses of every tenth step.

    After `resumed_after` steps, the state goes through a checkpoint.
    """
    curves, found = Curves.fresh(warmup_steps), []
    for step, loss in enumerate(training, start=1):
        found += curves.note_step(step, float(loss), STEPS_PER_EPOCH)
        if step % EVAL_STEPS == 0:
            found += curves.note_evaluation(step, float(validation[step // EVAL_STEPS - 1]))
        if step == resumed_after:
            curves = Curves.of(loads(dumps(asdict(curves))))
    return found


def noisy(values: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    return values * np.random.default_rng(seed).normal(1, share, len(values))


FALLING = 2.0 * np.exp(-np.arange(200) / 60) + 0.3
STILL = np.full(200, 2.0)
U_SHAPED = np.concatenate([np.linspace(2.0, 1.5, 6), np.linspace(1.55, 2.5, 14)])


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_validation_loss_that_rises_while_the_training_loss_falls_is_overfitting(noise: float) -> None:
    found = told(noisy(FALLING, 10 * noise), noisy(U_SHAPED, noise))
    first = next(warning for warning in found if warning.code == "overfitting")
    assert 50 <= first.numbers["since_step"] <= 70
    assert first.numbers["since_step"] < first.numbers["step"] <= 150
    assert f"since step {first.numbers['since_step']}" in first.message
    assert "early_stopping_patience" in first.message


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("training", "validation"),
    [
        (FALLING, np.linspace(2.0, 1.2, 20)),
        (FALLING, np.full(20, 1.6)),
        (FALLING, 0.9 * np.exp(-np.arange(20) / 5) + 1.1),
    ],
    ids=["it falls", "it stays", "it levels out"],
)
def test_a_noisy_validation_loss_that_does_not_rise_is_no_overfitting(
    training: np.ndarray, validation: np.ndarray, seed: int
) -> None:
    assert told(noisy(training, 0.2, seed), noisy(validation, 0.02, seed + 100)) == []


def test_both_losses_that_rise_are_no_overfitting() -> None:
    assert told(np.linspace(1, 3, 200), np.linspace(1, 3, 20)) == []


def test_a_validation_loss_that_is_not_finite_tells_nothing() -> None:
    assert told(FALLING, np.full(20, inf)) == []


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_loss_that_stays_is_told_at_the_end_of_the_second_epoch(noise: float) -> None:
    epoch = noisy(STILL[:STEPS_PER_EPOCH], noise)  # the same examples again and again
    (warning,) = told(np.tile(epoch, 8), STILL[:20])
    assert (warning.code, warning.numbers["step"]) == ("loss_does_not_move", 50)


@pytest.mark.parametrize("seed", range(20))
def test_a_noisy_loss_that_falls_does_move(seed: int) -> None:
    random = np.random.default_rng(seed)
    of_examples = random.normal(1, 0.1, STEPS_PER_EPOCH)  # each epoch sees them in another order
    noise = np.concatenate([random.permutation(of_examples) for _ in range(8)])
    assert told(np.linspace(2.0, 1.2, 200) * noise, np.linspace(2.0, 1.5, 20)) == []


def test_what_is_learnt_within_the_first_epoch_has_moved() -> None:
    quick = np.concatenate([np.linspace(3, 1, 10), np.full(190, 1.0)])
    assert all(warning.code != "loss_does_not_move" for warning in told(quick, STILL[:20]))


def test_a_long_warmup_is_waited_for() -> None:
    assert told(np.concatenate([STILL[:60], FALLING[:140]]), STILL[:20], warmup_steps=60) == []


@pytest.mark.parametrize("after", [1, 49, 100, 130])
def test_a_resumed_job_is_told_the_same(after: int) -> None:
    training, validation = noisy(FALLING, 0.1), noisy(U_SHAPED, 0.01)
    assert told(training, validation, resumed_after=after) == told(training, validation)


def spec(**changes: object) -> JobSpec:
    hyperparameters = Hyperparameters(n_epochs=1, batch_size=4, learning_rate_multiplier=1.0)
    return JobSpec(base_model="tiny", seed=1, hyperparameters=hyperparameters).model_copy(update=changes)


def codes(spec: JobSpec, parameters: int = 10**6, tokens: int = 10**6) -> list[str]:
    return [warning.code for warning in before_training(spec, parameters, tokens)]


@pytest.mark.parametrize(("rate", "far"), [(1.9e-5, True), (2.1e-5, False), (1.9e-3, False), (2.1e-3, True)])
def test_a_learning_rate_is_far_where_it_is_ten_times_the_usual_one_or_a_tenth(
    rate: float, far: bool
) -> None:
    assert codes(spec(training=TrainingOptions(learning_rate=rate))) == far * ["unusual_learning_rate"]


def test_where_answers_are_compared_a_tenth_is_usual() -> None:
    rate = TrainingOptions(learning_rate=3e-6)
    assert codes(spec(training=rate, objective=Dpo())) == []
    assert codes(spec(training=rate)) == ["unusual_learning_rate"]


def test_a_rank_is_beyond_the_data_where_each_token_would_fill_hundreds_of_parameters() -> None:
    wide = spec(adapter=LoraAdapter(r=64))
    assert codes(wide, parameters=500_000, tokens=1000) == []
    (warning,) = before_training(wide, parameters=1_000_000, tokens=1000)
    assert (warning.code, warning.numbers["enough_rank"]) == ("rank_beyond_data", 32)
    assert "adapter.r 32 would do as well" in warning.message
    assert codes(spec(adapter=LoraAdapter(r=8, rank_pattern={"q_proj": 64})), 10**6, 1000)
    assert codes(spec(adapter=AdaLoraAdapter(init_r=64)), 10**6, 1000) == ["rank_beyond_data"]


def test_the_usual_rank_is_nobody_s_fault_and_other_methods_have_none() -> None:
    assert codes(spec(), parameters=5_000_000, tokens=100) == []
    assert codes(spec(adapter=Ia3Adapter()), 5_000_000, 100) == []


def of_search(specs: list[JobSpec], tokens: int = 10**6) -> list[TrainingWarning]:
    found = {number: list(before_training(each, 10**6, tokens)) for number, each in enumerate(specs)}
    return list(before_search(found, lambda number: f"adapter.r {specs[number].adapter.r}"))  # type: ignore[union-attr]


def test_what_concerns_all_candidates_is_said_of_all() -> None:
    rate = TrainingOptions(learning_rate=0.1)
    (warning,) = of_search([spec(adapter=LoraAdapter(r=r), training=rate) for r in (4, 8)])
    assert warning.message.startswith("All 2 candidates: The peak learning rate 0.1 is far from")
    assert warning.message.count("The peak") == 1
    assert [each["candidate"] for each in warning.data["candidates"]] == [0, 1]


def test_a_search_is_told_of_rates_and_of_ranks_apart_and_only_of_those_concerned() -> None:
    rate = TrainingOptions(learning_rate=0.1)
    specs = [spec(adapter=LoraAdapter(r=r)) for r in (8, 32, 64)]
    specs[0] = specs[0].model_copy(update={"training": rate})
    on_rate, on_rank = of_search(specs, tokens=1000)
    assert on_rate.message.startswith("Candidate adapter.r 8: ")
    assert [each["candidate"] for each in on_rate.numbers["candidates"]] == [0]
    assert "Candidate adapter.r 32: The data cannot fill rank 32" in on_rank.message
    assert "Candidate adapter.r 64: The data cannot fill rank 64" in on_rank.message
    assert [each["enough_rank"] for each in on_rank.numbers["candidates"]] == [16, 32]


def test_a_search_without_anything_unusual_is_told_nothing() -> None:
    assert of_search([spec(adapter=LoraAdapter(r=r)) for r in (4, 8)]) == []
