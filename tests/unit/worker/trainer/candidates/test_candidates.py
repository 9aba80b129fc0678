"""Candidates of one job on a tiny base model: each trains as it would alone, until it is dropped."""

import json
from collections.abc import Mapping, Sequence
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from core.errors import JobError
from core.jobs.search import CandidateSearch, CandidateSpec
from core.jobs.spec import Hyperparameters, JobSpec, LoraAdapter
from core.objectives.dpo import Dpo
from core.storage.file_names import POSITION_NAME, STATE_NAME, DamagedFile
from tests.fixtures.engine.objectives import pairs
from tests.fixtures.engine.process_group import process_group_on
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import MAX_TOKENS, evaluate, make_spec, make_trainee, train
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import measure, validate
from worker.engine.step.trainee import NonFiniteLoss, Trainee
from worker.rows.row import Row
from worker.rows.row_store import store_rows
from worker.trainer.candidates.candidates import Candidates
from worker.trainer.devices import process_group as process_groups
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.reader import JobData
from worker.trainer.report.reporter import JobEvent, Reporter
from worker.trainer.report.training_record import TrainingRecord
from worker.trainer.save.checkpoint import _load, write_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.family(1)]

RANKS = (2, 4, 8, 16)
STEPS = 24
ROWS, VALIDATION_ROWS = make_rows(12, 0), make_rows(20, 1)


@pytest.fixture(autouse=True)
def of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fix the memory that a trainer reports, so that a resumed job notes exactly the same."""
    monkeypatch.setattr(process_groups, "held_bytes", lambda _: 10**9)


class Told(Reporter):
    """A `JobLease` without a database: it keeps what is reported."""

    def __init__(self) -> None:
        self.lease = SimpleNamespace(job_id="job")
        self.steps: list[dict[str, Any]] = []
        self.events: list[str] = []
        self.data: list[dict[str, Any]] = []  # of each event
        self._told_as: set[str] = set()
        self.writes = 0

    def progress(self, _progress: Any) -> None: ...

    def metrics(self, metrics: Any, _message: str) -> None:
        self.steps.append(metrics.data)

    def report(self, event: JobEvent) -> None:
        if event.once_as in self._told_as:
            return
        if event.once_as is not None:
            self._told_as.add(event.once_as)
        self.events.append(event.message)
        level, data = event.options.get("level", "info"), event.options.get("data")
        self.data.append({"level": level, **(data or {})})

    def warned(self, code: str) -> list[dict[str, Any]]:
        return [data for data in self.data if data.get("code") == code]

    def write(self, _write: Any) -> None:
        self.writes += 1


def spec_of(
    kind: str = "sweep", rates: Mapping[int, float] | None = None, epochs: int = 8, **changes: Any
) -> JobSpec:
    """Return a search with one candidate for each rank and rate of `rates`, or for `RANKS` at one rate."""
    rates = rates or dict.fromkeys(RANKS, 1e-2)
    candidates = [
        CandidateSpec(adapter=LoraAdapter(r=r, lora_alpha=2 * r), learning_rate=rate)
        for r, rate in rates.items()
    ]
    search = CandidateSearch(
        kind=cast(Any, kind), parameters={"adapter.r": list(rates)}, candidates=candidates
    )
    hyperparameters = Hyperparameters(n_epochs=epochs, batch_size=4, learning_rate_multiplier=1.0)
    return make_spec(search=search, adapter=candidates[0].adapter, hyperparameters=hyperparameters, **changes)


def spec_with_targets(*names: str) -> JobSpec:
    """Return a search with one candidate for each of the target modules."""
    candidates = [
        CandidateSpec(adapter=LoraAdapter(r=4, target_modules=[name]), learning_rate=1e-3) for name in names
    ]
    parameters = {"adapter.target_modules": [[name] for name in names]}
    search = CandidateSearch(kind="sweep", parameters=parameters, candidates=candidates)
    return make_spec(search=search, adapter=candidates[0].adapter)


def begun(
    process_group: ProcessGroup,
    spec: JobSpec,
    told: Told,
    folder: Path | None = None,
    rows: Sequence[Row] = ROWS,
    validation_rows: Sequence[Row] = VALIDATION_ROWS,
) -> Candidates:
    """Begin the candidates of a new job, or of a job that is resumed from a checkpoint's folder."""
    data = JobData(cast(Any, None), store_rows(rows), "a fingerprint", None, validation_rows)
    candidates = Candidates(process_group, spec, data, cast(Any, told))
    if folder is not None:
        step, state, notes = _load(folder, "a fingerprint")
        candidates.restore(step, state, TrainingRecord({}, notes))
    candidates.begin({})
    return candidates


def step(process_group: ProcessGroup, candidates: Candidates) -> None:
    trainees = candidates.trainees
    results = process_group.train_round([trainee.name for trainee in trainees])
    for trainee in trainees:
        candidates.take(trainee, results[trainee.adapter.name], 1.0)
    candidates.settle(lambda: False)


def loss_of(base: ResidentBase, trainee: Trainee) -> float:
    return evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, VALIDATION_ROWS).loss


def values(candidates: Candidates) -> dict[int, torch.Tensor]:
    return {each.number: each.trainee.adapter.parameters.master.detach().clone() for each in candidates._live}


def noted(candidates: Candidates) -> str:
    """Return the notes as a checkpoint keeps them."""
    return json.dumps(candidates.record.notes)


@pytest.fixture
def told() -> Told:
    return Told()


def test_each_trains_what_it_would_train_alone_until_it_is_dropped(base: ResidentBase, told: Told) -> None:
    spec, process_group = spec_of(), process_group_on(base, MAX_TOKENS)
    candidates = begun(process_group, spec, told)
    seen: dict[int, tuple[int, float]] = {}
    while True:
        seen |= {each.number: (candidates.step, loss_of(base, each.trainee)) for each in candidates._live}
        if candidates.finished:
            break
        step(process_group, candidates)
    assert sorted(stopped for stopped, _ in seen.values()) == [2, 2, 5, STEPS]
    for number, (steps, loss) in seen.items():
        alone = make_trainee(base, f"alone{number}", spec.candidates[number], ROWS)
        train(base, [alone], steps)
        assert loss == pytest.approx(loss_of(base, alone), rel=1e-3), number
    assert candidates.finished
    assert candidates.complete


@pytest.mark.exhaustive
def test_a_dpo_sweep_is_won_by_what_prefers_best_which_trains_as_it_would_alone(
    base: ResidentBase, told: Told
) -> None:
    spec, process_group = (
        spec_of(rates={2: 1e-9, 4: 1e-2, 8: 1e-3}, objective=Dpo()),
        process_group_on(base, MAX_TOKENS),
    )
    rows = held_out = pairs(12)
    candidates = begun(process_group, spec, told, rows=rows, validation_rows=held_out)
    while not candidates.finished:
        step(process_group, candidates)
    alone = make_trainee(base, "alone", spec.candidates[1], rows)
    train(base, [alone], STEPS)
    (winner,) = candidates._live
    assert winner.number == 1
    found, expected = (
        validate(PassContext(base, MAX_TOKENS), each, held_out).loss for each in (winner.trainee, alone)
    )
    assert found == pytest.approx(expected, rel=1e-3)
    assert found < 0.9 * log(2)
    losses = [rung["valid_loss"] for rung in winner.rungs]
    assert losses == sorted(losses, reverse=True)
    assert {rung["noise"] for rung in winner.rungs} == {0}, "it is known of cross-entropies alone"


def test_they_cost_what_halving_says_and_the_job_is_told_of_the_leader(
    base: ResidentBase, told: Told
) -> None:
    spec, process_group = spec_of(), process_group_on(base, MAX_TOKENS)
    candidates = begun(process_group, spec, told)
    while not candidates.finished:
        step(process_group, candidates)
    alone = make_trainee(base, "alone", spec.candidates[0], ROWS)
    tokens = sum(len(row.tokens_L) for number in range(STEPS) for row in alone.rows_after(number))
    assert candidates.trained_tokens / tokens == pytest.approx((4 * 3 + 2 * 3 + 18) / STEPS, rel=0.05)
    assert [data["step"] for data in told.steps] == list(range(1, STEPS + 1))
    (winner,) = candidates.numbers
    assert {data["candidate"] for data in told.steps[6:]} == {winner}
    decided = candidates.win()
    assert decided is not None
    assert decided.search is not None
    assert (decided.adapter, decided.search.winner) == (spec.candidates[winner].adapter, winner)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["sweep", "auto_rank"])
def test_a_search_resumed_at_any_step_ends_to_the_bit_as_an_undisturbed_one(
    base: ResidentBase, tmp_path: Path, kind: str
) -> None:
    spec = spec_of(kind)
    process_group, told = process_group_on(base, MAX_TOKENS), Told()
    whole = begun(process_group, spec, told)
    folders = {saved: tmp_path / str(saved) for saved in (2, 3, 5)}
    while not whole.finished:
        if (folder := folders.get(whole.step)) is not None:
            folder.mkdir()
            write_checkpoint(whole, folder, "a fingerprint")
        step(process_group, whole)
    for saved, folder in folders.items():
        assert {STATE_NAME, POSITION_NAME} <= {file.name for file in folder.iterdir()}
        process_group, again = process_group_on(base, MAX_TOKENS), Told()
        resumed = begun(process_group, spec, again, folder)
        assert resumed.step == saved
        while not resumed.finished:
            step(process_group, resumed)
        assert resumed.numbers == whole.numbers
        assert noted(resumed) == noted(whole)
        (left,) = values(whole)
        assert torch.equal(values(resumed)[left], values(whole)[left])
        assert resumed.trained_tokens == whole.trained_tokens


def test_a_checkpoint_with_one_damaged_candidate_leaves_none_of_the_others_behind(
    base: ResidentBase, told: Told, tmp_path: Path
) -> None:
    """Otherwise the search would go on with some candidates, though it reports that it starts over."""
    spec, process_group = spec_of(), process_group_on(base, MAX_TOKENS)
    candidates = begun(process_group, spec, told)
    step(process_group, candidates)
    write_checkpoint(candidates, tmp_path, "a fingerprint")
    reached, state, notes = _load(tmp_path, "a fingerprint")
    lacking = {name: part for name, part in state.items() if not name.startswith("2.")}
    with pytest.raises(DamagedFile):
        candidates.restore(reached, lacking, TrainingRecord({}, notes))
    assert candidates.numbers == []
    candidates.begin({})
    assert [(each.number, each.trainee.step) for each in candidates._live] == [(n, 0) for n in range(4)]


def test_a_comparison_that_is_abandoned_stays_due_and_is_made_after_a_resume(
    base: ResidentBase, tmp_path: Path, told: Told
) -> None:
    spec, process_group = spec_of(), process_group_on(base, MAX_TOKENS)
    undisturbed = begun(process_group, spec, told)
    for _ in range(3):
        step(process_group, undisturbed)
    process_group = process_group_on(base, MAX_TOKENS)
    candidates = begun(process_group, spec, told)
    step(process_group, candidates)
    step(process_group, candidates)
    trainees = candidates.trainees
    results = process_group.train_round([trainee.name for trainee in trainees])
    for trainee in trainees:
        candidates.take(trainee, results[trainee.adapter.name], 1.0)
    candidates.settle(lambda: True)
    assert not candidates.complete
    assert len(candidates.numbers) == 4
    write_checkpoint(candidates, tmp_path, "a fingerprint")
    resumed = begun(process_group_on(base, MAX_TOKENS), spec, told, tmp_path)
    assert not resumed.complete
    resumed.settle(lambda: False)
    assert resumed.complete
    assert noted(resumed) == noted(undisturbed)


def test_one_that_cannot_go_on_leaves_alone_and_the_last_one_s_fault_is_the_job_s(
    base: ResidentBase, told: Told
) -> None:
    process_group = process_group_on(base, MAX_TOKENS)
    candidates = begun(process_group, spec_of(), told)
    fault = NonFiniteLoss("non_finite_loss", "Step 1: loss nan")
    for trainee in candidates.trainees[:3]:
        candidates.take(trainee, fault, 1.0)
    assert candidates.numbers == [3]
    assert candidates.best.number == 3
    assert "Candidate adapter.r 2 cannot go on: Step 1: loss nan" in told.events
    step(process_group, candidates)
    with pytest.raises(JobError):
        candidates.take(candidates.trainees[0], fault, 1.0)


def test_one_that_cannot_be_attached_leaves_alone(base: ResidentBase, told: Told) -> None:
    process_group = process_group_on(base, MAX_TOKENS)
    candidates = begun(process_group, spec_with_targets("no_such_proj", "q_proj", "v_proj"), told)
    assert candidates.numbers == [1, 2]
    assert candidates.best.number == 1
    (event,) = told.events
    assert event.startswith("Candidate adapter.target_modules ['no_such_proj'] cannot go on: ")
    assert told.data == [{"level": "warn", "candidate": 0}]
    while not candidates.finished:
        step(process_group, candidates)
    decided = candidates.win()
    assert decided is not None
    assert decided.search is not None
    assert decided.search.winner in (1, 2)


def test_where_none_can_be_attached_the_job_s_fault_names_the_first(base: ResidentBase, told: Told) -> None:
    with pytest.raises(JobError) as raised:
        begun(process_group_on(base, MAX_TOKENS), spec_with_targets("no_such", "nor_such"), told)
    assert "The first, adapter.target_modules ['no_such']: " in str(raised.value)
    assert (raised.value.code, raised.value.param) == ("invalid_adapter", "adapter.target_modules")
    assert told.events == []


# Warnings of a search

RATES = {2: 1e-3, 4: 0.1, 8: 0.1, 16: 1e-9}  # by rank; 2e-4 is usual
STILL = {2: 1e-9, 4: 1e-9}
FIRST_STILL = {2: 1e-9, 4: 1e-2}  # the first candidate is the best until the first rung
LONG = 36  # epochs
JUDGED = 24  # the step at which a loss is judged to stand still
DECIDED = 27  # the step of the rung that leaves one candidate


def test_rates_far_from_the_usual_are_told_once_with_the_candidates_concerned(
    base: ResidentBase, told: Told, tmp_path: Path
) -> None:
    spec, process_group = spec_of(rates=RATES), process_group_on(base, MAX_TOKENS)
    candidates = begun(process_group, spec, told)
    assert len(told.events) == 1
    assert told.events[0].startswith(
        "Candidates adapter.r 4; adapter.r 8: The peak learning rate 0.1 is far from 0.0002"
    )
    assert "Candidate adapter.r 16: The peak learning rate 1e-09 is far" in told.events[0]
    (warned,) = told.warned("unusual_learning_rate")
    assert warned["level"] == "warn"
    assert [(each["candidate"], each["learning_rate"]) for each in warned["candidates"]] == [
        (1, 0.1),
        (2, 0.1),
        (3, 1e-9),
    ]
    for _ in range(4):
        step(process_group, candidates)
    write_checkpoint(candidates, tmp_path, "a fingerprint")
    before = list(told.events)
    begun(process_group_on(base, MAX_TOKENS), spec, told, tmp_path)
    assert told.events == before


def test_of_losses_that_stand_the_winner_s_is_told_once_it_is_left(
    base: ResidentBase, told: Told, tmp_path: Path
) -> None:
    spec, process_group = spec_of(rates=STILL, epochs=LONG), process_group_on(base, MAX_TOKENS)
    candidates = begun(process_group, spec, told)
    while candidates.step < DECIDED:
        assert told.warned("loss_does_not_move") == []
        step(process_group, candidates)
        if candidates.step == DECIDED - 1:
            write_checkpoint(candidates, tmp_path, "a fingerprint")
    (winner,) = candidates.numbers
    (warned,) = told.warned("loss_does_not_move")
    assert (warned["candidate"], warned["step"]) == (winner, JUDGED)
    again = Told()
    process_group = process_group_on(base, MAX_TOKENS)
    resumed = begun(process_group, spec, again, tmp_path)
    assert again.warned("loss_does_not_move") == []
    step(process_group, resumed)
    assert again.warned("loss_does_not_move") == [warned]


def test_a_loss_that_stands_is_not_told_of_one_that_is_dropped(base: ResidentBase, told: Told) -> None:
    process_group = process_group_on(base, MAX_TOKENS)
    candidates = begun(process_group, spec_of(rates=FIRST_STILL, epochs=LONG), told, validation_rows=ROWS)
    while candidates.step < DECIDED:
        step(process_group, candidates)
    assert candidates.numbers == [1]
    assert told.warned("loss_does_not_move") == []


def test_what_a_resume_makes_again_is_told_once(base: ResidentBase, told: Told, tmp_path: Path) -> None:
    """After the checkpoint, a candidate fails, and a comparison is made."""
    spec = spec_of()
    fault = NonFiniteLoss("non_finite_loss", "Step 2: loss nan")
    events = []
    for resumes in (False, True):
        process_group = process_group_on(base, MAX_TOKENS)
        candidates = begun(process_group, spec, told, tmp_path if resumes else None)
        if not resumes:
            step(process_group, candidates)
            write_checkpoint(candidates, tmp_path, "a fingerprint")
        candidates.take(candidates.trainees[0], fault, 1.0)
        while candidates.step < 3:
            step(process_group, candidates)
        events.append(list(told.events))
    assert any("candidates train on" in event for event in events[0])
    assert any("cannot go on" in event for event in events[0])
    assert events[1] == events[0]


def test_one_that_has_to_make_its_step_again_is_waited_for(base: ResidentBase, told: Told) -> None:
    process_group = process_group_on(base, MAX_TOKENS)
    candidates = begun(process_group, spec_of(), told)
    first, *others = candidates.trainees
    results = process_group.train_round([other.name for other in others])
    for trainee in others:
        candidates.take(trainee, results[trainee.adapter.name], 1.0)
    assert candidates.trainees == [first]
    step(process_group, candidates)
    assert candidates.trainees == [first, *others]


def test_candidates_that_leave_while_the_first_is_evaluated_end_every_evaluation(
    base: ResidentBase, told: Told
) -> None:
    """A cancelled job leaves between two micro-batches: all of its candidates at once."""
    process_group = process_group_on(base, MAX_TOKENS)
    candidates = begun(process_group, spec_of(), told)
    for _ in range(2):
        step(process_group, candidates)
    names = [trainee.adapter.name for trainee in candidates.trainees]
    assert len(names) > 1
    results = process_group.train_round([trainee.name for trainee in candidates.trainees])
    for trainee in candidates.trainees:
        candidates.take(trainee, results[trainee.adapter.name], 1.0)
    questions: list[None] = []

    def cancelled() -> bool:
        questions.append(None)
        for name in names:
            process_group.leave(name)
        return True

    candidates.settle(cancelled)
    assert len(questions) == 1
    assert not candidates.complete


def test_the_loss_of_a_comparison_is_that_of_an_evaluation_and_its_rows_add_up_to_it(
    base: ResidentBase,
) -> None:
    trainee = make_trainee(base, "job", make_spec(), ROWS)
    train(base, [trainee], 3)
    found = measure(PassContext(base, MAX_TOKENS), trainee, VALIDATION_ROWS)
    assert found.loss == pytest.approx(loss_of(base, trainee), rel=1e-5)
    assert found.nll_X is not None
    assert found.tokens_X is not None
    for number in (0, 7, 19):
        alone = evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, [VALIDATION_ROWS[number]])
        assert found.nll_X[number] / found.tokens_X[number] == pytest.approx(alone.loss, rel=1e-4)


def test_candidates_share_what_the_base_makes_of_their_rows(base: ResidentBase) -> None:
    spec = spec_of(rates={4: 1e-3, 8: 1e-3}, objective=Dpo())
    group = process_group_on(base, 10_000)
    one, other = begun(group, spec, Told(), rows=pairs(12), validation_rows=pairs(4, 1)).trainees
    micro_batches: list[None] = []
    for trainee, expected in ((one, 2), (other, 1)):  # the first one's step computes the base too
        micro_batches.clear()
        group.train_round([trainee.name], abandon=lambda: bool(micro_batches.append(None)))
        assert len(micro_batches) == expected
