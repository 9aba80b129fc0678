"""Policy losses: each equals its paper's formula, left to autograd through PEFT's model."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.jobs.spec import Hyperparameters, LoraAdapter, TrainingOptions
from core.methods.low_rank import AdaLoraAdapter
from core.objectives.dpo import Dpo
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.objectives import rows_of
from tests.fixtures.engine.rollouts import (
    ANSWERS,
    LONGEST,
    LOSSES,
    give_rollouts,
    policy_loss_by_the_paper,
    prompts,
    reinforced,
    reinforcement,
    reinforcement_spec,
    sampled,
    token_log_probabilities,
)
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import MAX_TOKENS, gradient_of_a_step, make_spec, make_trainee, randomize
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.rehearsal import longest_step, rehearse_step
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows.rollout import Rollout

pytestmark = pytest.mark.family(3)

DETERMINISTIC = TrainingOptions(learning_rate=1e-2, deterministic=True)
EACH_LOSS = pytest.mark.parametrize("loss_type", LOSSES)


@pytest.fixture
def two_lanes(tiny_folder: Path) -> Iterator[ResidentBase]:
    """The tiny base with two lanes, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield ResidentBase(TINY, tiny_folder, "0" * 64, torch.device("cpu"))
    torch.set_num_threads(before)


def one_round(base: ResidentBase, trainees: list[Trainee], max_tokens: int = MAX_TOKENS) -> dict[str, Any]:
    """Give rollouts to those that need them, and run a round of those that have not finished."""
    active = [trainee for trainee in trainees if not trainee.finished]
    give_rollouts(*active)
    results = train_round(PassContext(base, max_tokens), active)
    assert all(isinstance(result, StepResult) for result in results.values()), results
    return results


def values_of(trainee: Trainee) -> Tensor:
    return trainee.adapter.parameters.master.detach().clone()


def state_of(trainee: Trainee) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainee.state().items()}


def without_variance(rollouts: list[Rollout]) -> list[Rollout]:
    return [replace(rollout, advantages_L=np.zeros_like(rollout.advantages_L)) for rollout in rollouts]


@EACH_LOSS
@pytest.mark.parametrize("max_tokens", [32, MAX_TOKENS, 10_000], ids=["one a piece", "in pieces", "in one"])
@pytest.mark.parametrize("by_token", [False, True], ids=["of answers", "of tokens"])
def test_loss_gradient_and_metrics_are_those_of_the_paper(
    two_lanes: ResidentBase, loss_type: str, max_tokens: int, by_token: bool
) -> None:
    """Advantages are those of whole answers, as of rewards, or of single tokens, as of a teacher."""
    trainee = reinforced(two_lanes, "job", reinforcement_spec(loss_type))
    rollouts = sampled(trainee.next_prompts, by_token=by_token)
    trainee.take_rollouts(rollouts)
    model: Any = trainee.adapter.plain_model
    model.set_adapter("default")
    expected, metrics = policy_loss_by_the_paper(reinforcement(loss_type), model, rollouts)
    expected.backward()
    expected_gradient = trainee.adapter.parameters.gradient.clone()
    trainee.adapter.parameters.forget_gradient()
    trainee.adapter.parameters.gradient.zero_()
    context = PassContext(two_lanes, max_tokens)
    result, gradient = gradient_of_a_step(trainee, lambda: train_round(context, [trainee]))
    assert result.loss == pytest.approx(expected.item(), abs=1e-6)
    assert (gradient - expected_gradient).norm() < 1e-5 * expected_gradient.norm()
    assert result.metrics == pytest.approx(metrics, abs=1e-5)
    assert isnan(result.accuracy)
    if loss_type != "importance_sampling":
        assert 0 < result.metrics["clip_fraction"] < 1


def test_a_sampler_that_agrees_leaves_no_gap_and_no_ratio(base: ResidentBase) -> None:
    trainee = reinforced(base, "job", reinforcement_spec("dapo"))
    model: Any = trainee.adapter.plain_model
    model.set_adapter("default")
    agreeing = []
    for rollout in sampled(trainee.next_prompts):
        logprobs_L = np.zeros_like(rollout.logprobs_L)
        with torch.no_grad():
            logprobs_L[rollout.learnt_L] = token_log_probabilities(model, rollout).float().numpy()
        agreeing.append(replace(rollout, logprobs_L=logprobs_L))
    trainee.take_rollouts(agreeing)
    metrics = one_round(base, [trainee])["job"].metrics
    assert metrics["policy_gap_max"] < 1e-5
    assert metrics["ratio_mean"] == pytest.approx(1, abs=1e-5)
    assert metrics["clip_fraction"] == 0


def test_a_step_takes_one_pass_over_the_rollouts_that_have_an_advantage(base: ResidentBase) -> None:
    trainee = reinforced(base, "job", reinforcement_spec("gspo"))
    rollouts = sampled(trainee.next_prompts)
    trainee.take_rollouts(rollouts)
    learnt = [each for each in rollouts if each.advantages_L.any()]
    assert len(learnt) == 2 * ANSWERS - 1  # a group has no variance, and an answer is masked
    assert trainee.next_rows == learnt
    looks: list[None] = []
    context = PassContext(base, 10_000, abandon=lambda: bool(looks.append(None)))
    (result,) = train_round(context, [trainee]).values()
    assert isinstance(result, StepResult)
    assert len(looks) == 1
    assert result.tokens == sum(len(row.tokens_L) for row in learnt)


@EACH_LOSS
def test_reinforcement_trains_beside_other_jobs_as_alone(two_lanes: ResidentBase, loss_type: str) -> None:
    def jobs(names: str) -> list[Trainee]:
        specs = [
            reinforcement_spec(loss_type, batch_size=1),
            make_spec(),
            make_spec(objective=Dpo()),
            reinforcement_spec("gspo", batch_size=1, training=DETERMINISTIC),
        ]
        rows = [prompts(4), make_rows(12, 0), rows_of(specs[2], 12), prompts(4, seed=1)]
        made = [
            make_trainee(two_lanes, name, spec, of) for name, spec, of in zip(names, specs, rows, strict=True)
        ]
        for job in made:
            randomize(job.adapter)  # type: ignore[arg-type]
        return made

    alone = {job.name: [one_round(two_lanes, [job])[job.name] for _ in range(4)] for job in jobs("abcd")}
    beside = jobs("abcd")
    together: dict[str, list[StepResult]] = {job.name: [] for job in beside}
    while active := [job for job in beside if job.step < 4]:
        for name, result in one_round(two_lanes, active).items():
            together[name].append(result)
    for name, expected in alone.items():
        for ours, theirs in zip(together[name], expected, strict=True):
            assert ours.loss == pytest.approx(theirs.loss, rel=1e-4, abs=1e-5), name
            assert ours.metrics == pytest.approx(theirs.metrics, rel=1e-3, abs=1e-4, nan_ok=True), name


@pytest.fixture
def in_bf16(tiny_folder: Path) -> Iterator[ResidentBase]:
    """The tiny base in bf16 with two lanes, where the cut of a round moves the losses."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield ResidentBase(TINY.model_copy(update={"dtype": "bf16"}), tiny_folder, "0" * 64, torch.device("cpu"))
    torch.set_num_threads(before)


@pytest.mark.family(1)
@pytest.mark.parametrize("loss_type", ["gspo", "cispo"])
def test_a_deterministic_job_gives_the_same_bits_alone_in_company_spread_and_resumed(
    in_bf16: ResidentBase, tmp_path: Path, loss_type: str
) -> None:
    spec = reinforcement_spec(loss_type, training=DETERMINISTIC)
    hashes = {}

    def job() -> Trainee:
        return reinforced(in_bf16, "job", spec)

    def note(how: str, job: Trainee) -> None:
        assert job.finished
        job.adapter.save(tmp_path)
        hashes[how] = sha256((tmp_path / WEIGHTS_NAME).read_bytes()).hexdigest()

    def company(rows: int) -> list[Trainee]:
        """A supervised job and one of pairs, with small steps, so that a larger step is spread."""
        size = Hyperparameters(n_epochs=1, batch_size=1, learning_rate_multiplier=1.0)
        supervised, pairs = make_spec(hyperparameters=size), make_spec(hyperparameters=size, objective=Dpo())
        return [
            make_trainee(in_bf16, "supervised", supervised, make_rows(rows, 0)),
            make_trainee(in_bf16, "pairs", pairs, rows_of(pairs, rows)),
        ]

    alone = job()
    while not alone.finished:
        one_round(in_bf16, [alone])
    note("alone", alone)

    beside, others = job(), company(400)
    rounds = 0
    while not beside.finished:
        one_round(in_bf16, [others[0], beside, others[1]])
        rounds += 1
    assert rounds > 2 * beside.total_steps, "no step was spread"
    note("spread beside others", beside)

    first, others = job(), company(400)
    while first.step < 3:
        one_round(in_bf16, [first] if first.step == 1 else [*others, first])
    one_round(in_bf16, [*others, first])
    assert first.spread is not None
    save_file(first.state(), tmp_path / "state")
    resumed = job()
    resumed.restore(first.step, load_file(tmp_path / "state"))
    assert resumed.needs_rollouts
    while not resumed.finished:
        one_round(in_bf16, [resumed])
    note("resumed in the middle of a spread step", resumed)

    assert len(set(hashes.values())) == 1, hashes


@EACH_LOSS
def test_a_step_that_is_spread_over_rounds_is_the_step_made_alone(base: ResidentBase, loss_type: str) -> None:
    spec = reinforcement_spec(loss_type, batch_size=6)
    huge, twin = reinforced(base, "huge", spec, 12), reinforced(base, "huge", spec, 12)
    one_row = Hyperparameters(n_epochs=1, batch_size=1, learning_rate_multiplier=1.0)
    small = make_trainee(base, "small", make_spec(hyperparameters=one_row), make_rows(400, 5))
    results, rounds = [], 0
    while huge.step < 2:
        results += [result for name, result in one_round(base, [huge, small]).items() if name == "huge"]
        rounds += 1
    assert rounds > 10, "no step was spread"
    for ours in results:
        theirs = one_round(base, [twin])["huge"]
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4, abs=1e-6)
        assert ours.metrics == pytest.approx(theirs.metrics, rel=1e-3, abs=1e-4)
        assert ours.gradient_norm == pytest.approx(theirs.gradient_norm, rel=1e-3)


# Steps without an update


@pytest.mark.parametrize("none", [False, True], ids=["no variance", "no rollouts"])
def test_a_step_without_advantage_advances_and_changes_nothing(base: ResidentBase, none: bool) -> None:
    trainee = reinforced(base, "job", reinforcement_spec("dapo"))
    one_round(base, [trainee])
    before = state_of(trainee)
    rollouts = without_variance(sampled(trainee.next_prompts))
    trainee.take_rollouts([] if none else rollouts)
    assert trainee.learns_nothing
    (result,) = train_round(PassContext(base, MAX_TOKENS), [trainee]).values()
    assert isinstance(result, StepResult)
    assert (result.step, result.loss, result.gradient_norm, result.tokens) == (2, 0.0, 0.0, 0)
    assert isnan(result.accuracy)
    assert result.learning_rate > 0
    assert trainee.step == 2
    assert trainee.needs_rollouts
    after = trainee.state()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_schedule_goes_on_over_a_step_without_an_update(base: ResidentBase) -> None:
    rates = []
    for skips in (False, True):
        trainee = reinforced(base, "job", reinforcement_spec())
        for step in range(trainee.total_steps):
            if skips and step == 1:
                trainee.take_rollouts(without_variance(sampled(trainee.next_prompts)))
            rates.append(one_round(base, [trainee])["job"].learning_rate)
        assert trainee.finished
    assert rates[: len(rates) // 2] == rates[len(rates) // 2 :]


def test_neighbours_learn_beside_a_job_that_learns_nothing(base: ResidentBase) -> None:
    idle = reinforced(base, "idle", reinforcement_spec())
    huge, twin = (reinforced(base, "huge", reinforcement_spec(batch_size=6), 12) for _ in range(2))
    while not huge.finished:
        idle.take_rollouts(without_variance(sampled(idle.next_prompts)))
        results = one_round(base, [idle, huge])
        assert set(results) == {"idle", "huge"}, "the step was spread"
        assert results["huge"].gradient_norm == one_round(base, [twin])["huge"].gradient_norm


def test_a_job_that_resumes_after_a_step_without_an_update_ends_with_the_same_bits(
    base: ResidentBase, tmp_path: Path
) -> None:
    """AdamW corrects its moments by the number of updates, which is then not that of the steps."""
    whole, first, resumed = (reinforced(base, "job", reinforcement_spec()) for _ in range(3))
    for trainee in (whole, first):
        trainee.take_rollouts(without_variance(sampled(trainee.next_prompts)))
        for _ in range(3):
            one_round(base, [trainee])
    save_file(first.state(), tmp_path / "state")
    resumed.restore(first.step, load_file(tmp_path / "state"))
    for trainee in (whole, resumed):
        while not trainee.finished:
            one_round(base, [trainee])
    assert torch.equal(values_of(whole), values_of(resumed))


def test_ranks_of_a_budget_fall_by_the_schedule_without_an_update(base: ResidentBase) -> None:
    adapter = AdaLoraAdapter(init_r=4, target_r=2, tinit=1, tfinal=1, deltaT=1)
    spec = reinforcement_spec(adapter=adapter)
    trainee = Trainee(attach(base, "job", spec, 6, 512, 64), spec, prompts(9))
    budgets = [one_round(base, [trainee])["job"].rank_budget]
    before = state_of(trainee)
    while not trainee.finished:
        trainee.take_rollouts(without_variance(sampled(trainee.next_prompts)))
        budgets.append(one_round(base, [trainee])["job"].rank_budget)
    assert budgets[0] > budgets[-1]
    sensitivities = [name for name in trainee.state() if name.startswith("sensitivity.")]
    assert sensitivities
    assert all(torch.equal(trainee.state()[name], before[name]) for name in sensitivities)


# Rollouts


def test_a_job_asks_for_rollouts_of_its_next_prompts_before_each_step(base: ResidentBase) -> None:
    trainee = reinforced(base, "job", reinforcement_spec())
    lines = []
    while not trainee.finished:
        assert trainee.needs_rollouts
        lines += [prompt.line for prompt in trainee.next_prompts]
        trainee.take_rollouts(sampled(trainee.next_prompts))
        assert not trainee.needs_rollouts
        one_round(base, [trainee])
    assert not trainee.needs_rollouts
    assert sorted(lines[:9]) == sorted(lines[9:]) == list(range(1, 10))
    supervised = make_trainee(base, "other", make_spec(), make_rows(4, 0))
    assert not supervised.needs_rollouts


def test_an_abandoned_round_keeps_the_rollouts(base: ResidentBase) -> None:
    trainee, twin = (reinforced(base, "job", reinforcement_spec("gspo")) for _ in range(2))
    give_rollouts(trainee, twin)
    for allowed in (0, 1, 2):
        answers = iter([False] * allowed)
        context = PassContext(base, 32, abandon=lambda answers=answers: next(answers, True))
        assert train_round(context, [trainee]) == {}
        assert not trainee.needs_rollouts
    for _ in range(3):
        assert one_round(base, [trainee])["job"].loss == one_round(base, [twin])["job"].loss
    assert torch.equal(values_of(trainee), values_of(twin))


def test_a_loss_that_is_not_finite_keeps_the_rollouts_and_names_their_lines(base: ResidentBase) -> None:
    trainee = reinforced(base, "job", reinforcement_spec())
    rollouts = sampled(trainee.next_prompts)
    broken = replace(rollouts[0], logprobs_L=np.full_like(rollouts[0].logprobs_L, -np.inf))
    trainee.take_rollouts([broken, *rollouts[1:]])
    (error,) = train_round(PassContext(base, MAX_TOKENS), [trainee]).values()
    assert isinstance(error, Exception)
    assert str(trainee.next_prompts[0].line) in str(error)
    assert not trainee.needs_rollouts


# Rehearsals


def test_a_rehearsal_takes_the_longest_rollouts_and_leaves_no_trace(base: ResidentBase) -> None:
    trainee, twin = (reinforced(base, "job", reinforcement_spec("gspo")) for _ in range(2))
    longest = max(len(prompt.tokens_L) for prompt in trainee.rows)
    found = rehearse_step(PassContext(base, MAX_TOKENS), [trainee], longest_step(trainee, MAX_TOKENS))
    assert found.longest_row == longest + LONGEST
    assert found.tokens > 3 * ANSWERS * LONGEST
    assert trainee.needs_rollouts
    assert trainee.step == 0
    for job in (trainee, twin):
        for _ in range(2):
            one_round(base, [job])
    assert torch.equal(values_of(trainee), values_of(twin))


def test_dropout_and_ranks_of_a_step_are_drawn_for_rollouts_too(base: ResidentBase) -> None:
    for adapter in (LoraAdapter(r=4, lora_dropout=0.3), LoraAdapter(r=4, dynamic_rank=True)):
        results = [
            one_round(base, [reinforced(base, "job", reinforcement_spec(adapter=adapter))])["job"]
            for _ in range(2)
        ]
        assert results[0] == replace(results[1], accuracy=results[0].accuracy)
