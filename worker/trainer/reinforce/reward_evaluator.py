"""Validates a job with reinforcement: by the mean reward of answers to the validation prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from math import nan
from typing import Any, ClassVar

from core.errors import JobError
from core.jobs.spec import JobSpec
from core.objectives.reinforcement import METHOD, TOOLS, Reinforcement
from core.strict_json import finite
from worker.engine.step.totals import Evaluation
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.answer_evaluator import AnswerEvaluator
from worker.trainer.reinforce.answers import AnswerSampler, GradedAnswer, judged
from worker.trainer.reinforce.drift import Drift
from worker.trainer.reinforce.drift_warnings import drift_warnings
from worker.trainer.reinforce.measures import Measured, mean_entropy, mean_of, measured, quantiles_of
from worker.trainer.reinforce.rewards import (
    details_of,
    mean_audit,
    mean_parse_error,
    mean_reward,
    tool_measures,
)
from worker.trainer.reinforce.sampled_rollouts import SampledRollouts
from worker.trainer.reinforce.validation_records import records_of
from worker.trainer.report.reporter import Reporter
from worker.trainer.report.training_record import TrainingRecord
from worker.trainer.save.validation_runs import ValidationRuns

AUDIT = f"{METHOD}.audit_grader"
DRIFT = "drift"


class RewardEvaluator(AnswerEvaluator):
    """Measures one adapter that learns from rewards. Its best state is that of the highest mean reward."""

    told: ClassVar[Mapping[str, str]] = {
        "mean reward": "train_mean_reward",
        "full validation mean reward": "full_valid_mean_reward",
        "full validation mean audit": "full_valid_mean_audit",
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
        runs: ValidationRuns,
    ) -> None:
        assert isinstance(spec.objective, Reinforcement)
        self._objective, self._spec, self._runs = spec.objective, spec, runs
        self._drift = Drift(**record.notes.get(DRIFT, {}))
        self._audit_holds = True
        super().__init__(process_group, trainee, reporter, valid_rows, spec, record, sampler, items, rollouts)

    @property
    def record(self) -> TrainingRecord:
        record = super().record
        return replace(record, notes={**record.notes, DRIFT: asdict(self._drift)})

    def _more_metrics(self) -> dict[str, Any]:
        metrics = super()._more_metrics()
        length = metrics.get("completion_tokens_mean", nan)
        return {**metrics, "completion_tokens_ratio": finite(self._length_ratio(length))}

    def _length_ratio(self, length: float) -> float:
        """Return a mean length of answers, divided by that of the first validation."""
        first = mean_of(self._drift.first, "completion_tokens") if self._drift.first else nan
        return length / first if first else nan

    def _take_note(self, graded: Sequence[GradedAnswer]) -> dict[str, float]:
        now = measured(graded, self._objective.eval_samples)
        self._refuse_silent_audit(graded, now)
        change = self._drift.note(now)
        self._audit_holds = change.audit_holds
        details = details_of(graded, "full_valid", self._objective.graders)
        self.latest = {**self.latest, **_joined(self.latest, details)}
        self._add_warnings(drift_warnings(self.trainee.step, change, graded, self._objective))
        return self._metrics(graded, now)

    def _refuse_silent_audit(self, graded: Sequence[GradedAnswer], now: Measured) -> None:
        """Raise JobError if the first validation has no audit, since later ones are compared with it."""
        if self._objective.audit_grader is None or self._drift.first is not None:
            return
        if any(value is not None for value in now["audit"]):
            return
        known = judged(graded)
        name, code, at = ("audit grader", "grader_failed", AUDIT) if known else ("tool", "tool_failed", TOOLS)
        failure = (known or graded)[0].audit
        assert failure is not None
        reason = (
            f"The {name} has failed for every answer of the first validation, with which later ones are "
            f"compared. The first failure: {failure.message}"
        )
        raise JobError(code, reason, at)

    def _metrics(self, graded: Sequence[GradedAnswer], now: Measured) -> dict[str, float]:
        length = mean_of(now, "completion_tokens")
        found = {
            "mean_reward": mean_reward(graded),
            **{f"prompt_reward_{name}": value for name, value in quantiles_of(now, "reward").items()},
            "mean_parse_error": mean_parse_error(graded),
            "completion_tokens_mean": length,
            "completion_tokens_ratio": self._length_ratio(length),
            "truncated_mean": mean_of(now, "truncated"),
            "repetition_mean": mean_of(now, "repetition"),
            "entropy": mean_entropy(graded),
            **tool_measures(graded, self._objective),
        }
        return found if self._objective.audit_grader is None else {**found, "mean_audit": mean_audit(graded)}

    def _judgement(self, one: GradedAnswer) -> dict[str, Any]:
        return {"reward": one.reward, **_shown_audit(one)}

    def _store(self, graded: Sequence[GradedAnswer]) -> None:
        assert self._items is not None
        records = records_of(graded, self._items, self._spec)
        self._runs.send(self.trainee.step, records, len(graded))

    def _loss_of(self, found: Evaluation) -> float:
        """Return the negative reward; NaN for a state that must not be published."""
        return nan if self._may_not_be_published else -found.metrics["mean_reward"]

    def _to_minimise(self, found: Evaluation) -> float:
        """Return what is lowest in the state to publish.

        That is the state of the highest reward, or the last one if an audit may end the job.
        A state in which the audit has fallen is never the best.
        """
        takes_last = self._objective.stop_on_audit and not self._training.load_best_model_at_end
        if takes_last and not self._may_not_be_published:
            return -float(self.trainee.step)
        return self._loss_of(found)

    @property
    def _may_not_be_published(self) -> bool:
        """Whether an audit may end the job, and has fallen in the present state."""
        return self._objective.stop_on_audit and not self._audit_holds

    def _stop_if_it_is_time(self) -> None:
        """Stop the training if the reward is hacked, and the job's client wants it to end then."""
        trainee, best_step = self.trainee, self.best.step
        if not (self._objective.stop_on_audit and self._drift.is_hacked) or trainee.finished:
            return
        trainee.stop()
        message = (
            f"Stopped early at step {trainee.step} of {trainee.total_steps}: the reward has risen, and the "
            f"audit has fallen. The state of step {best_step} is published."
        )
        numbers = {"step": trainee.step, "total_steps": trainee.total_steps, "best_step": best_step}
        self._reporter.event(
            message, data={"code": "stopped_on_audit", **numbers}, once_as="stopped_on_audit"
        )


def _shown_audit(one: GradedAnswer) -> dict[str, Any]:
    """Return what is shown of an answer's audit, if it has one."""
    if one.audit is None:
        return {}
    error = {"audit_error": one.audit.message} if one.audit.grader_failed else {}
    return {"audit": one.audit.known_score, **error}


def _joined(known: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
    """Return scores, usage and errors with those of the same step's training."""
    joined: dict[str, Any] = {}
    for name, found in details.items():
        before = known.get(name, {})
        joined[name] = {key: _both(before.get(key), value) for key, value in found.items()}
    return joined


def _both(before: Any, now: Any) -> Any:
    if isinstance(before, list):
        none: dict[str, Any] = {}  # of the audit, which grades no steps
        return [{**old, **new} for old, new in zip_longest(before, now, fillvalue=none)]
    return {**(before or {}), **now} if isinstance(now, dict) else now
