"""Of which validations of a job that samples its answers clients get checkpoints, and when it ends."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from core.errors import JobError
from core.jobs.spec import JobSpec, TrainingOptions
from core.objectives.distillation import Distillation
from core.objectives.reinforcement import TOOLS
from tests.fixtures.engine.rollouts import GRADER, prompts, reinforcement, whole
from tests.fixtures.engine.training import make_spec
from worker.engine.sampler.rollouts import Sampled
from worker.engine.step.trainee import StepResult
from worker.grading.graded import TOOL_FAULT, Graded
from worker.trainer.distillation.evaluator import DistillationEvaluator
from worker.trainer.reinforce.answer_evaluator import AnswerEvaluator
from worker.trainer.reinforce.answers import GradedAnswer
from worker.trainer.reinforce.episodes import SampledAnswer
from worker.trainer.reinforce.reward_evaluator import AUDIT, RewardEvaluator
from worker.trainer.report.training_record import TrainingRecord

PROMPTS = 20
FAILED = Graded(0.0, "server_lost", "The server stopped.")
TOOL_FAILED = Graded(0.0, TOOL_FAULT, "The tool answered 500.")
AUDITED = {"audit_grader": {**GRADER, "name": "audit"}}
SPREAD = np.linspace(-0.05, 0.05, PROMPTS)  # prompts differ, so that a paired test has something to test
QUIET = TrainingOptions(learning_rate=1e-2, eval_samples=0)  # answers are not shown


@dataclass
class Scripted:
    """A trainee, its process group, its reporter and its sampler in one, with grades by step."""

    grades: Mapping[int, Sequence[tuple[Graded, Graded | None]]]
    last_step: int
    step: int = 0
    name: str = "job"
    steps_per_epoch: int = 10
    memory_bytes: int = 10**9
    rows_per_example: int = 1
    decided: bool = True
    is_best: bool = True
    told: list[Any] = field(default_factory=list)

    @property
    def total_steps(self) -> int:
        return self.last_step

    @property
    def at_epoch_end(self) -> bool:
        return self.step > 0 and self.step % self.steps_per_epoch == 0

    @property
    def finished(self) -> bool:
        return self.step >= self.last_step

    @property
    def epoch(self) -> float:
        return self.step / self.steps_per_epoch

    def stop(self) -> None:
        self.last_step = self.step

    def begin(self, *_: Any, **__: Any) -> Any:
        graded = [GradedAnswer(answer(each[0]), *each) for each in self.grades[self.step]]
        return SimpleNamespace(
            advance=lambda _: True,
            seconds={"sampling": 2.0, "grading": 1.0},
            result=lambda: graded,
            cancel=lambda: None,
        )

    def progress(self, progress: Any) -> None:
        self.told.append(progress)

    def metrics(self, *_: Any) -> None: ...
    def warn(self, *_: Any) -> None: ...
    def event(self, *_: Any, **__: Any) -> None: ...


class Unstored(RewardEvaluator):
    """An evaluator whose validations are no runs of an eval."""

    def _store(self, graded: Sequence[GradedAnswer]) -> None: ...


def answer(grade: Graded) -> SampledAnswer:
    tokens = np.arange(2, dtype=np.int32)
    found = whole(Sampled(1, tokens, tokens, np.zeros(2, np.float32), np.zeros(2, np.bool_), "", True))
    return replace(found, tool_error=grade.message if grade.fault == TOOL_FAULT else None)


def evaluator_of(script: Scripted, spec: JobSpec, record: TrainingRecord) -> AnswerEvaluator:
    part, rollouts = cast(Any, script), cast(Any, SimpleNamespace(metrics={}, close=lambda: None))
    given = part, part, part, prompts(PROMPTS), spec, record, part, cast(Any, object()), rollouts
    if isinstance(spec.objective, Distillation):
        return DistillationEvaluator(*given)
    return Unstored(*given, cast(Any, None))


def run(evaluator: AnswerEvaluator, script: Scripted, until: int) -> Iterator[int]:
    """Yield each step after which the job has a state, once it has been validated."""
    evaluator.validate(lambda: False)
    yield script.step
    while script.step < until and not script.finished:
        script.step += 1
        evaluator.step(StepResult(script.step, 1.0, 0.5, 10, 1e-4, 1.0), seconds=1.0)
        assert not evaluator.is_promised, "before its validation"
        evaluator.validate(lambda: False)
        yield script.step


def promised(evaluator: AnswerEvaluator, script: Scripted, until: int = 1000) -> list[int]:
    return [step for step in run(evaluator, script, until) if evaluator.is_promised]


def rewarded(reward: float | None, audit: float | None = None) -> list[tuple[Graded, Graded | None]]:
    """Return the grades of a validation with these means. Without a reward, the grader has failed."""
    grades = [FAILED if reward is None else Graded(reward + each) for each in SPREAD]
    audits = [None if audit is None else Graded(audit + each**2) for each in SPREAD]
    return list(zip(grades, audits, strict=True))


def read(reverse_kl: float) -> list[tuple[Graded, Graded | None]]:
    return [(Graded(0.0, logprobs=(-reverse_kl, -reverse_kl)), None)] * PROMPTS


REWARDS = {0: 0.9, 2: 0.1, 4: 0.5, 6: 0.3, 8: 0.2, 10: 0.5, 12: 0.6, 14: None}


def spec_of(**changes: Any) -> JobSpec:
    objective = reinforcement(eval_interval=2, **changes)
    return make_spec(objective=objective, training=QUIET)


def rising(last_step: int = 14) -> Scripted:
    return Scripted({step: rewarded(reward) for step, reward in REWARDS.items()}, last_step)


def test_clients_are_promised_the_three_validations_with_the_highest_reward() -> None:
    script, record = rising(), TrainingRecord()
    evaluator = evaluator_of(script, spec_of(), record)
    assert promised(evaluator, script, until=6) == [2, 4, 6], "not the model that the job begins with"
    assert evaluator.still_promised == [4, 6, 2]
    assert promised(evaluator, script) == [6, 8, 10, 12], (
        "a validation without a known reward is never the best"
    )
    assert evaluator.still_promised == [12, 4, 10]


@pytest.mark.parametrize("at", [0, 2, 5, 8, 12])
def test_a_job_that_is_resumed_promises_the_same(at: int) -> None:
    script = rising()
    begun = evaluator_of(script, spec_of(), TrainingRecord())
    promised(begun, script, until=at)
    kept = TrainingRecord(*json.loads(json.dumps([begun.record.metrics, begun.record.notes])))
    resumed = evaluator_of(script, spec_of(), kept)
    assert (resumed.is_promised, resumed.still_promised) == (begun.is_promised, begun.still_promised)
    promised(resumed, script)
    assert resumed.still_promised == [12, 4, 10]


def test_a_checkpoint_without_a_ranking_can_be_resumed() -> None:
    script = rising()
    begun = evaluator_of(script, spec_of(), TrainingRecord())
    promised(begun, script, until=4)
    notes = {name: note for name, note in begun.record.notes.items() if name != "ranking_of_validations"}
    resumed = evaluator_of(script, spec_of(), TrainingRecord(begun.record.metrics, notes))
    promised(resumed, script)
    assert resumed.still_promised == [12, 10, 6]


@pytest.mark.parametrize("stops", [True, False])
def test_a_state_whose_audit_has_fallen_is_promised_only_if_the_audit_does_not_count(stops: bool) -> None:
    audited = {0: (0.5, 0.9), 2: (0.6, 0.9), 4: (0.4, 0.1), 6: (0.5, 0.9), 8: (0.4, 0.9), 10: (0.3, 0.9)}
    script = Scripted({step: rewarded(*found) for step, found in audited.items()}, last_step=10)
    spec = spec_of(**AUDITED, stop_on_audit=stops)
    evaluator = evaluator_of(script, spec, TrainingRecord())
    promised(evaluator, script)
    assert evaluator.still_promised == ([2, 6, 8] if stops else [2, 6, 4])
    assert evaluator.best.step == (10 if stops else 2), "it publishes the last state whose audit holds"


@pytest.mark.parametrize(
    ("by_tools", "code", "at", "failure"),
    [
        (PROMPTS, "tool_failed", TOOLS, TOOL_FAILED),
        (PROMPTS - 1, "grader_failed", AUDIT, FAILED),
        (0, "grader_failed", AUDIT, FAILED),
    ],
)
def test_a_job_whose_first_validation_has_no_audit_ends_and_names_what_has_failed(
    by_tools: int, code: str, at: str, failure: Graded
) -> None:
    audits = [(TOOL_FAILED, TOOL_FAILED)] * by_tools + [(Graded(0.5), FAILED)] * (PROMPTS - by_tools)
    evaluator = evaluator_of(Scripted({0: audits}, last_step=4), spec_of(**AUDITED), TrainingRecord())
    with pytest.raises(JobError, match=f"The first failure: {failure.message}") as raised:
        evaluator.validate(lambda: False)
    assert (raised.value.code, raised.value.param) == (code, at)


def test_one_audit_is_enough_to_go_on() -> None:
    audits = [
        (TOOL_FAILED, TOOL_FAILED),
        *[(Graded(0.5), FAILED)] * (PROMPTS - 2),
        (Graded(0.5), Graded(0.7)),
    ]
    evaluator = evaluator_of(Scripted({0: audits}, last_step=4), spec_of(**AUDITED), TrainingRecord())
    evaluator.validate(lambda: False)
    assert evaluator.latest["full_valid_mean_audit"] == 0.7


def test_with_a_teacher_clients_are_promised_the_three_validations_that_are_nearest_to_it() -> None:
    far = {0: 0.9, 2: 0.5, 4: 0.1, 6: 0.6, 8: 0.4, 10: 0.7}
    script = Scripted({step: read(kl) for step, kl in far.items()}, last_step=10)
    spec = make_spec(objective=Distillation(teacher="other", eval_interval=2), training=QUIET)
    evaluator = evaluator_of(script, spec, TrainingRecord())
    assert promised(evaluator, script) == [2, 4, 6, 8]
    assert evaluator.still_promised == [4, 8, 2]


def test_the_remaining_time_counts_all_validations_as_whole() -> None:
    script = Scripted({step: rewarded(0.5) for step in range(21)}, last_step=20)
    spec = spec_of().model_copy(update={"objective": reinforcement(eval_interval=4)})
    evaluator = evaluator_of(script, spec, TrainingRecord())
    promised(evaluator, script, until=1)
    validations = len([4, 8, 10, 12, 16, 20])
    assert script.told[-1].seconds_left == pytest.approx(19 * 1.0 + validations * (2.0 + 1.0))
