"""Validates a job with reinforcement: by the mean reward of answers to the validation prompts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from core.jobs.spec import JobSpec
from core.objectives.reinforcement import Reinforcement
from worker.engine.step.totals import Evaluation
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.answer_evaluator import AnswerEvaluator
from worker.trainer.reinforce.answers import AnswerSampler, GradedAnswer
from worker.trainer.reinforce.rewards import details_of, mean_parse_error, mean_reward
from worker.trainer.reinforce.sampled_rollouts import SampledRollouts
from worker.trainer.report.reporter import Reporter
from worker.trainer.report.training_record import TrainingRecord


class RewardEvaluator(AnswerEvaluator):
    """Measures one adapter that learns from rewards. Its best state is that of the highest mean reward."""

    told: ClassVar[Mapping[str, str]] = {
        "mean reward": "train_mean_reward",
        "full validation mean reward": "full_valid_mean_reward",
    }

    def __init__(
        self,
        process_group: ProcessGroup,
        trainee: Trainee,
        reporter: Reporter,
        valid_rows: Sequence[Row],
        spec: JobSpec,
        record: TrainingRecord,
        sampler: AnswerSampler,
        items: RowItems | None,
        rollouts: SampledRollouts,
    ) -> None:
        assert isinstance(spec.objective, Reinforcement)
        self._grader = spec.objective.grader.model_dump()
        super().__init__(process_group, trainee, reporter, valid_rows, spec, record, sampler, items, rollouts)

    def _means(self, graded: Sequence[GradedAnswer]) -> dict[str, float]:
        return {"mean_reward": mean_reward(graded), "mean_parse_error": mean_parse_error(graded)}

    def _note_details(self, graded: Sequence[GradedAnswer]) -> None:
        details = details_of(graded, "full_valid", self._grader)
        self.latest = {**self.latest, **_joined(self.latest, details)}

    def _judgement(self, one: GradedAnswer) -> dict[str, Any]:
        return {"reward": one.reward}

    def _to_minimise(self, found: Evaluation) -> float:
        return -found.metrics["mean_reward"]


def _joined(known: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
    """Return scores, usage and errors with those of the same step's training."""
    joined: dict[str, Any] = {}
    for name, found in details.items():
        before = known.get(name, {})
        joined[name] = {key: _both(before.get(key), value) for key, value in found.items()}
    return joined


def _both(before: Any, now: Any) -> Any:
    if isinstance(before, list):
        return [{**old, **new} for old, new in zip(before, now, strict=True)]
    return {**(before or {}), **now} if isinstance(now, dict) else now
