"""A job's validation is made when it is due, and made again, with the same result, if it was abandoned."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.jobs.evaluation_schedule import EVAL_EXAMPLES
from core.jobs.spec import Hyperparameters, JobSpec, TrainingOptions
from core.objectives.orpo import Orpo
from core.objectives.supervised import Supervised
from tests.fixtures.engine.objectives import pairs
from tests.fixtures.engine.process_group import process_group_on
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import make_spec, make_trainee
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.answers import Answer
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.passes import Abandoned
from worker.engine.step.totals import Evaluation
from worker.engine.step.trainee import StepResult
from worker.rows.row import Row
from worker.trainer.report.evaluation import Evaluator, validate_together
from worker.trainer.report.reporter import JobEvent, Reporter
from worker.trainer.report.training_record import TrainingRecord

MAX_TOKENS = 64
ONE_STEP = Hyperparameters(n_epochs=1, batch_size=12, learning_rate_multiplier=1.0)


def test_an_abandoned_validation_is_made_after_the_resume_and_reported_once(base: ResidentBase) -> None:
    spec = make_spec(hyperparameters=ONE_STEP)
    trainee = make_trainee(base, "job", spec, make_rows(12, 0))
    process_group = process_group_on(base, MAX_TOKENS, trainee)
    reported: list[Any] = []
    phases: list[str] = []
    reporter = SimpleNamespace(
        progress=lambda progress: phases.append(progress.phase),
        metrics=lambda metrics, _message: reported.append(metrics.data),
        decided=True,
        is_best=False,  # so no prompts are answered
    )

    def evaluator_from(record: TrainingRecord) -> Evaluator:
        return Evaluator(process_group, trainee, cast(Any, reporter), make_rows(20, 1), spec, record)

    (result,) = train_round(PassContext(base, MAX_TOKENS), [trainee]).values()
    assert isinstance(result, StepResult)
    undisturbed = evaluator_from(TrainingRecord())
    undisturbed.step(result, seconds=1.0)
    undisturbed.validate(abandon=lambda: False)

    disturbed = evaluator_from(TrainingRecord())
    disturbed.step(result, seconds=1.0)
    assert not disturbed.complete
    answers = iter([False, False, True])
    disturbed.validate(abandon=lambda: next(answers))
    assert not disturbed.complete
    assert len(reported) == 1, "what lacks its validation is not reported"
    resumed = evaluator_from(disturbed.record)  # as a checkpoint keeps it
    resumed.validate(abandon=lambda: False)
    assert resumed.complete
    assert reported == [undisturbed.latest, undisturbed.latest]
    assert undisturbed.latest["full_valid_loss"] > 0
    assert resumed.record == undisturbed.record
    assert resumed.at_best
    assert "validating" in phases


def test_the_time_of_a_spread_step_is_that_of_all_its_rounds(base: ResidentBase) -> None:
    spec = make_spec(hyperparameters=ONE_STEP)
    trainee = make_trainee(base, "job", spec, make_rows(12, 0))
    process_group = process_group_on(base, MAX_TOKENS, trainee)
    (result,) = train_round(PassContext(base, MAX_TOKENS), [trainee]).values()
    assert isinstance(result, StepResult)
    evaluator = Evaluator(process_group, trainee, Scripted({}), [], spec, TrainingRecord())
    evaluator.note_share(seconds=2.0)
    evaluator.note_share(seconds=1.0)
    evaluator.step(result, seconds=1.0)
    assert evaluator.trained_seconds == 4.0
    assert evaluator.latest["tokens_per_second"] == result.tokens / 4.0
    evaluator.step(result, seconds=1.0)
    assert evaluator.trained_seconds == 5.0


@pytest.mark.parametrize(("objective", "trained"), [(Supervised(), pairs(6)), (Orpo(), pairs(12))])
def test_the_evaluations_of_an_epochs_end_take_one_pass_over_the_rows(
    base: ResidentBase, objective: Any, trained: list[Row]
) -> None:
    spec = make_spec(hyperparameters=ONE_STEP, objective=objective)
    trainee = make_trainee(base, "job", spec, trained)
    process_group = process_group_on(base, MAX_TOKENS, trainee)
    (result,) = train_round(PassContext(base, MAX_TOKENS), [trainee]).values()
    assert isinstance(result, StepResult)
    rows, script = pairs(20, 1), Scripted({})
    evaluator = Evaluator(process_group, trainee, script, rows, spec, TrainingRecord())
    evaluator.step(result, seconds=1.0)
    micro_batches: list[None] = []
    evaluator.validate(lambda: bool(micro_batches.append(None)))
    both = len(micro_batches)
    full = process_group.evaluate(trainee.name, rows, abandon=lambda: bool(micro_batches.append(None)))
    assert len(micro_batches) == 2 * both
    first = process_group.evaluate(trainee.name, rows[: EVAL_EXAMPLES * trainee.rows_per_example])
    assert evaluator.latest["full_valid_loss"] == full.loss
    assert evaluator.latest["valid_loss"] == pytest.approx(first.loss, rel=1e-5)
    assert evaluator.latest["valid_mean_token_accuracy"] == first.accuracy


@dataclass
class Scripted(Reporter):
    """A trainee, its process group and its reporter in one, with losses that are written down beforehand."""

    validation: dict[int, float]
    name: str = "job"
    steps_per_epoch: int = 1000
    total_steps: int = 1000
    last_step: int = 1000
    step: int = 0
    memory_bytes: int = 10**9
    rows_per_example: int = 1
    at_epoch_end: bool = False
    decided: bool = True
    is_best: bool = False  # so no prompts are answered
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.step >= self.last_step

    @property
    def epoch(self) -> float:
        return self.step / self.steps_per_epoch

    def stop(self) -> None:
        self.last_step = self.step

    def evaluate_together(self, validations: list[Any], **_: Any) -> list[list[Evaluation]]:
        return [[Evaluation(self.validation[self.step], 0.5)] * 2 for _ in validations]

    def report(self, event: JobEvent) -> None:
        level, data = event.options.get("level", "info"), event.options.get("data")
        told = {"message": event.message, "level": level, "once_as": event.once_as}
        self.events.append({**told, **(data or {})})

    def progress(self, _progress: Any) -> None:
        pass

    def metrics(self, *_: Any) -> None:
        pass


def run(
    script: Scripted,
    spec: JobSpec,
    record: TrainingRecord,
    until: int,
    abandon: Callable[[], bool] = lambda: False,
) -> Evaluator:
    """Evaluate a scripted job up to a step or its end."""
    evaluator = Evaluator(
        cast(Any, script), cast(Any, script), cast(Any, script), make_rows(20, 1), spec, record
    )
    while script.step < until and not script.finished:
        script.step += 1
        loss = 2.0 / script.step + 0.1
        evaluator.step(
            StepResult(script.step, loss, 0.5, tokens=10, learning_rate=1e-4, gradient_norm=1.0), 1.0
        )
        evaluator.validate(abandon)
    return evaluator


def rising(best: int) -> dict[int, float]:
    """Return a validation loss, by step, that falls until the step `best` and rises after it."""
    return {step: 1 + abs(step - best) / 50 for step in range(10, 1001, 10)}


def test_a_job_that_overfits_is_told_so() -> None:
    script = Scripted(rising(best=50))
    run(script, make_spec(training=TrainingOptions(eval_steps=10)), TrainingRecord(), until=200)
    assert {event["code"] for event in script.events} == {"overfitting"}
    event = script.events[0]
    assert (event["level"], event["once_as"], event["since_step"]) == ("warn", "overfitting", 50)


@pytest.mark.parametrize("interrupted_at", [0, 40, 50, 75])
def test_patience_ends_a_job_at_the_same_step_whether_it_was_interrupted_or_not(interrupted_at: int) -> None:
    spec = make_spec(training=TrainingOptions(eval_steps=10, early_stopping_patience=4))
    script = Scripted(rising(best=50))
    record = run(script, spec, TrainingRecord(), until=interrupted_at).record
    evaluator = run(script, spec, loads_dumps(record), until=1000)
    assert (script.step, script.last_step, evaluator.best.step) == (90, 90, 50)
    assert evaluator.complete
    assert not evaluator.at_best
    (event,) = [event for event in script.events if event["code"] == "early_stopping"]
    assert (event["step"], event["best_step"], event["best_valid_loss"]) == (90, 50, 1.0)
    again = Scripted(rising(best=50), step=90)
    run(again, spec, loads_dumps(evaluator.record), until=1000)
    assert again.step == 90, "a job that is resumed after its last step makes no other"


@dataclass
class Infected(Scripted):
    """Scripted, and its losses beside others are not finite, as if a neighbour's NaN had come through."""

    def evaluate_together(self, validations: list[Any], **own: Any) -> list[list[Evaluation]]:
        found = super().evaluate_together(validations, **own)
        return found if len(found) == 1 else [[Evaluation(float("nan"), 0.5)] * 2, *found[1:]]


def test_a_loss_that_is_not_finite_beside_others_is_computed_again_alone() -> None:
    spec = make_spec(training=TrainingOptions(eval_steps=10))
    script = Infected({10: 1.5}, step=10)
    group = cast(Any, script)
    result = StepResult(10, 1.0, 0.5, tokens=10, learning_rate=1e-4, gradient_norm=1.0)
    infected, other = (
        Evaluator(group, group, group, make_rows(20, 1), spec, TrainingRecord()) for _ in range(2)
    )
    for evaluator in (infected, other):
        evaluator.step(result, 1.0)
    validate_together(group, [infected, other], lambda: False)
    assert infected.is_due
    assert not other.is_due
    for evaluator in (infected, other):
        evaluator.validate(lambda: False)
        assert evaluator.latest["valid_loss"] == 1.5


@dataclass
class Answering(Scripted):
    """Scripted, and its trainee answers prompts. Only this reporter's job counts, so it answers."""

    is_best: bool = True

    def answer(self, _trainee: Any, _rows: Any, _tokens: int, abandon: Callable[[], bool]) -> list[Answer]:
        if abandon():
            raise Abandoned
        return [Answer(1, "prompt", "expected", f"answer at {self.step}", finished=True)]

    @property
    def answered(self) -> list[int]:
        """The steps whose answers were reported."""
        return [event["step"] for event in self.events if "rows" in event]


def test_a_worker_that_stops_when_a_job_ends_early_leaves_its_answers_to_the_next_one() -> None:
    spec = make_spec(training=TrainingOptions(eval_steps=10, early_stopping_patience=4))
    begun = run(Answering({}), spec, TrainingRecord(), until=0)
    assert not begun.complete, "the model that the job begins with has not answered"
    begun.validate(lambda: False)
    script = Answering(rising(best=50))
    record = run(script, spec, TrainingRecord(), until=80).record
    stopped = run(script, spec, loads_dumps(record), until=90, abandon=lambda: True)
    assert (script.finished, stopped.complete, script.answered) == (True, False, [])
    kept = loads_dumps(stopped.record)
    next_one = Answering(rising(best=50), step=90)
    resumed = run(next_one, spec, kept, until=90)
    resumed.validate(lambda: False)
    assert (resumed.complete, next_one.answered) == (True, [90])
    assert [event["code"] for event in next_one.events if "code" in event] == ["early_stopping"]
    assert resumed.progress_made != stopped.progress_made, "a checkpoint of the answered state has news"
    again = Answering(rising(best=50), step=90)
    run(again, spec, loads_dumps(resumed.record), until=90).validate(lambda: False)
    assert again.answered == []


def loads_dumps(record: TrainingRecord) -> TrainingRecord:
    """Return the record after its way through a checkpoint."""
    return TrainingRecord(json.loads(json.dumps(record.metrics)), json.loads(json.dumps(record.notes)))


def test_what_was_trained_is_counted_over_an_interruption() -> None:
    record = run(Scripted({}), make_spec(), TrainingRecord(), until=3).record
    counted = run(Scripted({}, step=3), make_spec(), loads_dumps(record), until=5).latest
    assert (counted["trained_seconds"], counted["trained_tokens"]) == (5.0, 50)
    assert counted["trainer_memory_bytes"] == 10**9


def test_a_threshold_counts_small_gains_as_none() -> None:
    script = Scripted({step: 2 - step / 1000 for step in range(10, 1001, 10)})
    options = TrainingOptions(eval_steps=10, early_stopping_patience=3, early_stopping_threshold=0.05)
    evaluator = run(script, make_spec(training=options), TrainingRecord(), until=1000)
    assert (script.step, evaluator.best.step) == (40, 40)
