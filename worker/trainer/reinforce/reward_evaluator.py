"""Validates a job with reinforcement: by the mean reward of answers to the validation prompts."""

from collections.abc import Callable, Sequence
from math import isfinite, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.jobs.spec import JobSpec
from core.objectives.reinforcement import Reinforcement
from worker.engine.step.passes import Abandoned
from worker.engine.step.totals import Evaluation
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows.row import Row
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.answers import AnswerSampler, GradedAnswer, Grading
from worker.trainer.reinforce.rewards import details_of, mean_parse_error, mean_reward
from worker.trainer.reinforce.rollouts import Rollouts
from worker.trainer.reinforce.validation_records import records_of
from worker.trainer.report.evaluation import Evaluator
from worker.trainer.report.reporter import Reporter
from worker.trainer.report.samples import report_answers
from worker.trainer.report.training_record import TrainingRecord
from worker.trainer.save.validation_runs import ValidationRuns

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

    def _more_metrics(self) -> dict[str, Any]:
        return self._rollouts.metrics

    def _note_step(self, result: StepResult) -> None:
        """Look for no warning: a policy loss says nothing about what has been learnt."""

    def _validate(self, abandon: Callable[[], bool]) -> None:
        if self._grading is None:
            assert self._items is not None
            self.progress("validating", self.latest.get("tokens_per_second"))
            count = self._objective.eval_samples
            try:
                self._grading = self._sampler.begin(self._valid_rows, self._items, count, self._seed, abandon)
            except Abandoned:
                return
        if self._grading.done:
            grading, self._grading = self._grading, None
            self._take(grading)

    def _take(self, grading: Grading) -> None:
        graded = grading.result()
        metrics = {"mean_reward": mean_reward(graded), "mean_parse_error": mean_parse_error(graded)}
        found = Evaluation(nan, nan, metrics)
        seconds = grading.sampling_seconds + grading.grading_seconds
        self._remaining.note_evaluation(seconds, whole=True)
        details = details_of(graded, "full_valid", self._objective.grader.model_dump())
        self.latest = {**self.latest, **_joined(self.latest, details)}
        self._report(found, found)
        self._show(graded)
        assert self._items is not None
        records = records_of(graded, self._items, self._spec)
        self._runs.send(self.trainee.step, records, len(graded))
        self.progress("training", self.latest.get("tokens_per_second"))

    def _show(self, graded: Sequence[GradedAnswer]) -> None:
        """Report the first answer to each of the first prompts, with its reward."""
        first = graded[:: self._objective.eval_samples][: self._shown]
        rows = [
            {
                "line": one.answer.line,
                "prompt": self._text_of(one.answer.prompt_L),
                "expected": None,
                "answer": one.answer.text,
                "finished": one.answer.finished,
                "reward": one.reward,
                **({"error": one.grade.message} if one.grader_failed else {}),
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
        return -found.metrics["mean_reward"]

    def _message(self) -> str:
        metrics = self.latest
        step = f"Step {metrics['step']}/{metrics['total_steps']}"
        told = {
            "mean reward": metrics.get("train_mean_reward"),
            "full validation mean reward": metrics.get("full_valid_mean_reward"),
        }
        parts = [
            f"{name}={value:.3f}" for name, value in told.items() if value is not None and isfinite(value)
        ]
        return f"{step}: {', '.join(parts) or 'no reward is known'}"


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
