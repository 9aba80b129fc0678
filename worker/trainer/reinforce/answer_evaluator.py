"""Validates a job that samples its answers: by the grades of answers to other prompts."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from math import isfinite, nan
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from core.jobs.spec import JobSpec
from core.objectives.sampling import SamplingOptions
from worker.engine.step.passes import Abandoned
from worker.engine.step.totals import Evaluation
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows.image_store import words_among
from worker.rows.row import Row
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.answers import Answering, AnswerSampler, GradedAnswer
from worker.trainer.reinforce.ranking import Ranking
from worker.trainer.reinforce.sampled_rollouts import SampledRollouts
from worker.trainer.report.evaluation import Evaluator
from worker.trainer.report.reporter import Reporter
from worker.trainer.report.samples import report_answers
from worker.trainer.report.training_record import TrainingRecord

RANKING = "ranking_of_validations"
SHOWN = 3  # answers of each validation, unless the job's `eval_samples` of `training` names a number


class AnswerEvaluator(Evaluator):
    """Measures one adapter that learns from answers which it samples.

    All validations take all validation rows, also the first one, of the model that the job begins with. The
    seeds of their answers are always the same. While the answers are graded, other jobs train on.
    """

    told: ClassVar[Mapping[str, str]]
    """The metrics that the message of a step tells, by their names in words"""

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
        """`items` are those of the validation rows."""
        objective = spec.objective
        assert isinstance(objective, SamplingOptions)
        training = spec.training.model_copy(update={"eval_steps": objective.eval_interval, "eval_samples": 0})
        self._answers_of_prompt, self._seed = objective.eval_samples, spec.seed
        self._sampler, self._items, self._rollouts = sampler, items, rollouts
        self._answering: Answering | None = None
        self._ranking = Ranking(**record.notes.get(RANKING, {}))
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
        if self._answering is not None:
            self._answering.cancel()
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
    def is_promised(self) -> bool:
        """Whether clients are promised a checkpoint: if this validation is one of the best so far."""
        return self.trainee.step in self._ranking.steps

    @property
    def still_promised(self) -> Collection[int]:
        return self._ranking.steps

    @property
    def record(self) -> TrainingRecord:
        record = super().record
        return replace(record, notes={**record.notes, RANKING: asdict(self._ranking)})

    @property
    def _takes_all_rows(self) -> bool:
        return True

    def _more_metrics(self) -> dict[str, Any]:
        return self._rollouts.metrics

    def _note_step(self, result: StepResult) -> None:
        """Look for no warning: a policy loss says nothing about what has been learnt."""

    def _validate(self, abandon: Callable[[], bool]) -> None:
        if self._answering is None:
            assert self._items is not None
            self.progress("validating", self.latest.get("tokens_per_second"))
            count = self._answers_of_prompt
            self._answering = self._sampler.begin(
                self._valid_rows, self._items, count, self._seed, audited=True
            )
        try:
            if not self._answering.advance(abandon):
                return
        except Abandoned:
            return
        answering, self._answering = self._answering, None
        self._take(answering)

    def _take(self, answering: Answering) -> None:
        graded = answering.result()
        found = Evaluation(nan, nan, self._take_note(graded))
        self._remaining.note_evaluation(sum(answering.seconds.values()), whole=True)
        self._ranking.note(self.trainee.step, self._loss_of(found))
        self._report(full=found, part=None)
        self._show(graded)
        self._store(graded)
        self.progress("training", self.latest.get("tokens_per_second"))

    @abstractmethod
    def _take_note(self, graded: Sequence[GradedAnswer]) -> dict[str, float]:
        """Take note of a validation, and return its metrics, without the prefix of their names."""

    @abstractmethod
    def _loss_of(self, found: Evaluation) -> float:
        """Return the number that is lower in a better state; NaN for one that must not be kept."""

    def _to_minimise(self, found: Evaluation) -> float:
        return self._loss_of(found)

    def _store(self, graded: Sequence[GradedAnswer]) -> None:
        """Store a validation that has been reported, if the method keeps its answers."""

    @abstractmethod
    def _judgement(self, one: GradedAnswer) -> dict[str, Any]:
        """Return what is shown of an answer's grade."""

    def _show(self, graded: Sequence[GradedAnswer]) -> None:
        """Report the first answer to each of the first prompts, with its grade."""
        first = graded[:: self._answers_of_prompt][: self._shown]
        rows = [
            {
                "line": one.answer.line,
                "prompt": self._text_of(one.answer.prompt_L),
                "expected": None,
                "answer": one.answer.text,
                "finished": one.answer.finished,
                **self._judgement(one),
                **({"error": one.answer.error} if one.answer.error else {}),
                **({"grade_error": one.grade.message} if one.grade.grader_failed else {}),
            }
            for one in first
        ]
        report_answers(self._reporter, self.trainee.step, rows)

    def _text_of(self, tokens_L: NDArray[np.int32]) -> str:
        tokenizer = self._process_group.holder.base.tokenizer
        return str(tokenizer.decode(words_among(tokens_L.tolist()), skip_special_tokens=True)).strip()

    @property
    def _best_loss(self) -> float | None:
        return None  # the best state is not that of the lowest loss

    def _message(self) -> str:
        metrics = self.latest
        step = f"Step {metrics['step']}/{metrics['total_steps']}"
        values = {name: metrics.get(metric) for name, metric in self.told.items()}
        parts = [
            f"{name}={value:.3f}" for name, value in values.items() if value is not None and isfinite(value)
        ]
        return f"{step}: {', '.join(parts) or 'no grade is known'}"
