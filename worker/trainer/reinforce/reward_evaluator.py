"""Validates a job with reinforcement: by the mean reward of answers to the validation prompts."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from math import isfinite, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import JobError
from core.jobs.spec import JobSpec
from core.objectives.reinforcement import Reinforcement
from core.strict_json import finite
from worker.engine.step.passes import Abandoned
from worker.engine.step.totals import Evaluation
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows.row import Row
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.answers import AnswerSampler, GradedAnswer, Grading
from worker.trainer.reinforce.drift import Drift
from worker.trainer.reinforce.drift_warnings import drift_warnings
from worker.trainer.reinforce.measures import Measured, mean_entropy, mean_of, measured
from worker.trainer.reinforce.rewards import details_of, mean_audit, mean_parse_error, mean_reward
from worker.trainer.reinforce.rollouts import Rollouts
from worker.trainer.reinforce.validation_records import records_of
from worker.trainer.report.evaluation import Evaluator
from worker.trainer.report.reporter import Reporter
from worker.trainer.report.samples import report_answers
from worker.trainer.report.training_record import TrainingRecord
from worker.trainer.save.validation_runs import ValidationRuns

DRIFT = "drift"
SHOWN = 3  # answers of each validation, unless the job's `eval_samples` of `training` names a number


class RewardEvaluator(Evaluator):
    """Measures one adapter that learns from rewards.

    All validations take all validation rows, also the first one, of the model that the job begins with. The
    seeds of their answers are always the same. While the answers are graded, other jobs train on.
    """

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
        rollouts: Rollouts,
        runs: ValidationRuns,
    ) -> None:
        """`items` are those of the validation rows."""
        objective = spec.objective
        assert isinstance(objective, Reinforcement)
        training = spec.training.model_copy(update={"eval_steps": objective.eval_interval, "eval_samples": 0})
        self._objective, self._seed = objective, spec.seed
        self._sampler, self._items, self._rollouts = sampler, items, rollouts
        self._spec, self._runs = spec, runs
        self._grading: Grading | None = None
        self._drift = Drift(**record.notes.get(DRIFT, {}))
        self._audit_holds = True
        self._shown = SHOWN if spec.training.eval_samples is None else spec.training.eval_samples
        super().__init__(
            process_group,
            trainee,
            reporter,
            valid_rows,
            spec.model_copy(update={"training": training}),
            record,
        )
        if not self.latest and valid_rows:
            self.latest = {"step": 0, "total_steps": trainee.total_steps}
            self._is_reported = False

    def close(self) -> None:
        """Stop waiting for grades."""
        if self._grading is not None:
            self._grading.cancel()
        self._rollouts.close()

    @property
    def can_step(self) -> bool:
        return self._rollouts.are_ready

    def prepare_step(self, abandon: Callable[[], bool]) -> None:
        if self.complete and not self.trainee.finished:
            self._rollouts.advance(abandon)

    @property
    def is_due(self) -> bool:
        """Whether the engine has to evaluate rows: never, since answers are graded instead."""
        return False

    @property
    def _full_is_due(self) -> bool:
        return bool(self._valid_rows) and (self.trainee.at_epoch_end or self._part_is_due)

    @property
    def record(self) -> TrainingRecord:
        record = super().record
        return replace(record, notes={**record.notes, DRIFT: asdict(self._drift)})

    def _more_metrics(self) -> dict[str, Any]:
        metrics = self._rollouts.metrics
        length = metrics.get("completion_tokens_mean", nan)
        return {**metrics, "completion_tokens_ratio": finite(self._length_ratio(length))}

    def _length_ratio(self, length: float) -> float:
        """Return a mean length of answers, divided by that of the first validation."""
        first = mean_of(self._drift.first, "completion_tokens") if self._drift.first else nan
        return length / first if first else nan

    def _note_step(self, result: StepResult) -> None:
        """Look for no warning: a policy loss says nothing about what has been learnt."""

    def _validate(self, abandon: Callable[[], bool]) -> None:
        if self._grading is None:
            assert self._items is not None
            self.progress("validating", self.latest.get("tokens_per_second"))
            count = self._objective.eval_samples
            try:
                self._grading = self._sampler.begin(
                    self._valid_rows, self._items, count, self._seed, abandon, audited=True
                )
            except Abandoned:
                return
        if self._grading.done:
            grading, self._grading = self._grading, None
            self._take(grading)

    def _take(self, grading: Grading) -> None:
        graded = grading.result()
        now = measured(graded, self._objective.eval_samples)
        self._refuse_silent_audit(graded, now)
        change = self._drift.note(now)
        self._audit_holds = change.audit_holds
        found = Evaluation(nan, nan, self._metrics(graded, now))
        seconds = grading.sampling_seconds + grading.grading_seconds
        self._remaining.note_evaluation(seconds, whole=True)
        details = details_of(graded, "full_valid", self._objective.graders)
        self.latest = {**self.latest, **_joined(self.latest, details)}
        self._add_warnings(drift_warnings(self.trainee.step, change, graded, self._objective))
        self._report(full=found, part=None)
        self._show(graded)
        assert self._items is not None
        records = records_of(graded, self._items, self._spec)
        self._runs.send(self.trainee.step, records, len(graded))
        self.progress("training", self.latest.get("tokens_per_second"))

    def _refuse_silent_audit(self, graded: Sequence[GradedAnswer], now: Measured) -> None:
        """Raise JobError if the first validation has no audit, since later ones are compared with it."""
        audits = [one.audit for one in graded if one.audit is not None]
        if audits and self._drift.first is None and not any(value is not None for value in now["audit"]):
            reason = (
                "The audit grader has failed for every answer of the first validation, with which later ones "
                f"are compared. The first failure: {audits[0].message}"
            )
            raise JobError("grader_failed", reason, "method.reinforcement.audit_grader")

    def _metrics(self, graded: Sequence[GradedAnswer], now: Measured) -> dict[str, float]:
        length = mean_of(now, "completion_tokens")
        found = {
            "mean_reward": mean_reward(graded),
            "mean_parse_error": mean_parse_error(graded),
            "completion_tokens_mean": length,
            "completion_tokens_ratio": self._length_ratio(length),
            "truncated_mean": mean_of(now, "truncated"),
            "repetition_mean": mean_of(now, "repetition"),
            "entropy": mean_entropy(graded),
        }
        return found if self._objective.audit_grader is None else {**found, "mean_audit": mean_audit(graded)}

    def _show(self, graded: Sequence[GradedAnswer]) -> None:
        """Report the first answer to each of the first prompts, with its reward and its audit."""
        first = graded[:: self._objective.eval_samples][: self._shown]
        rows = [
            {
                "line": one.answer.line,
                "prompt": self._text_of(one.answer.prompt_L),
                "expected": None,
                "answer": one.answer.text,
                "finished": one.answer.finished,
                "reward": one.reward,
                **({"error": one.grade.message} if one.grade.grader_failed else {}),
                **_shown_audit(one),
            }
            for one in first
        ]
        report_answers(self._reporter, self.trainee.step, rows)

    def _text_of(self, tokens_L: NDArray[np.int32]) -> str:
        tokenizer = self._process_group.holder.base.tokenizer
        return str(tokenizer.decode(tokens_L.tolist(), skip_special_tokens=True)).strip()

    @property
    def _best_loss(self) -> float | None:
        return None  # the best state is that of the highest reward

    def _to_minimise(self, found: Evaluation) -> float:
        """Return the lowest number for the highest reward, or for the last step if an audit may end the job.

        A state in which that audit has fallen is never the best.
        """
        if self._objective.stop_on_audit and not self._audit_holds:
            return nan
        if self._objective.stop_on_audit and not self._training.load_best_model_at_end:
            return -float(self.trainee.step)
        return -found.metrics["mean_reward"]

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

    def _message(self) -> str:
        metrics = self.latest
        step = f"Step {metrics['step']}/{metrics['total_steps']}"
        told = {
            "mean reward": metrics.get("train_mean_reward"),
            "full validation mean reward": metrics.get("full_valid_mean_reward"),
            "full validation mean audit": metrics.get("full_valid_mean_audit"),
        }
        parts = [
            f"{name}={value:.3f}" for name, value in told.items() if value is not None and isfinite(value)
        ]
        return f"{step}: {', '.join(parts) or 'no reward is known'}"


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
