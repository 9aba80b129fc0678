"""Reports the steps of one adapter, validates it when that is due, and stops it early."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from core.jobs.evaluation_schedule import EVAL_EXAMPLES, Schedule, eval_steps
from core.jobs.lifecycle import Progress
from core.jobs.spec import JobSpec
from core.methods.low_rank import LoraAdapter
from core.strict_json import finite
from worker.engine.adapters.dynamic_rank import measured_ranks
from worker.engine.step.optimizer import warmup_steps
from worker.engine.step.passes import Abandoned
from worker.engine.step.totals import Evaluation
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows.row import Row
from worker.rows.row_store import lengths_of
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.report.best_loss import BestLoss
from worker.trainer.report.remaining_time import RemainingTime
from worker.trainer.report.reporter import Reporter, StepMetrics
from worker.trainer.report.samples import Samples
from worker.trainer.report.training_record import TrainingRecord
from worker.trainer.report.warnings import Curves, TrainingWarning

UNTOLD_WARNINGS = "untold_warnings"
ANSWERS_ARE_DUE = "answers_are_due"


class Evaluator:
    """Measures one adapter in training: a job's only adapter, or a candidate.

    `latest` has the last step's metrics; it is empty before the first step. `complete` says whether all that
    is due after the last step has been made: a validation, and the answers to prompts.

    Until the validation has been made, the metrics are not reported, and a checkpoint keeps them as they are.
    A job that is resumed from this checkpoint first validates the same state. Answers alone are due before
    the first step, of the model that the job begins with, and after a validation that ends the job early.
    """

    def __init__(
        self,
        process_group: ProcessGroup,
        trainee: Trainee,
        reporter: Reporter,
        valid_rows: Sequence[Row],
        spec: JobSpec,
        record: TrainingRecord,
    ) -> None:
        """`record` comes from the checkpoint that the job is resumed from; it is empty for a new job."""
        self.latest = record.metrics
        self.trained_tokens: int = record.metrics.get("trained_tokens", 0)
        self.trained_seconds: float = record.metrics.get("trained_seconds", 0.0)
        self._process_group = process_group
        self.trainee = trainee
        self._reporter = reporter
        self._valid_rows = valid_rows
        self._samples = Samples(process_group, trainee, reporter, valid_rows, spec.training)
        self._is_reported = not self.latest or "valid_loss" in self.latest  # reporting a step adds this key
        self._answers_are_due = (
            record.notes.get(ANSWERS_ARE_DUE, False) if self.latest else bool(self._samples)
        )
        self._training, self._publishes_best, self._adapter = spec.training, spec.publishes_best, spec.adapter
        self._eval_steps = eval_steps(self._training, trainee.steps_per_epoch)
        self._remaining = RemainingTime()
        self._seconds_of_shares = 0.0
        self._found: tuple[Evaluation, Evaluation] | None = None  # of the present state, not yet reported
        self._few = EVAL_EXAMPLES * trainee.rows_per_example
        few = valid_rows[: self._few]
        self._tokens = int(lengths_of(valid_rows).sum()), int(lengths_of(few).sum())
        self.ranks: list[dict[str, Any]] = []
        self.best = BestLoss(**record.notes.get("best", {}))
        curves = record.notes.get("curves")
        warmup = warmup_steps(self._training, trainee.total_steps)
        self._curves = Curves.of(curves) if curves else Curves.fresh(warmup)
        self._untold = [TrainingWarning(**warning) for warning in record.notes.get(UNTOLD_WARNINGS, [])]
        self._stop_if_it_is_time()

    def note_share(self, seconds: float) -> None:
        """Take in a round that took `seconds` and computed at most a share of the next step."""
        self._seconds_of_shares += seconds

    def step(self, result: StepResult, seconds: float) -> None:
        """Take in a step of a round that took `seconds`. Report it unless a validation is due first.

        The rate is the job's own tokens over the time of all rounds of the step, which neighbours make
        longer.
        """
        seconds += self._seconds_of_shares
        self._seconds_of_shares = 0.0
        self.trained_tokens += result.tokens
        self.trained_seconds += seconds
        self._remaining.note_step(seconds, result.tokens)
        rate = result.tokens / seconds
        self.progress("training", rate)
        self.latest = _as_json(
            step=result.step,
            total_steps=self.trainee.total_steps,
            train_loss=result.loss,
            train_mean_token_accuracy=result.accuracy,
            learning_rate=result.learning_rate,
            grad_norm=result.gradient_norm,
            tokens_per_second=rate,
            trained_seconds=round(self.trained_seconds, 3),
            trained_tokens=self.trained_tokens,
            trainer_memory_bytes=self._process_group.memory_bytes,
            **result.metrics,
        )
        if result.rank_budget is not None:
            self.latest["adapter_rank_budget"] = result.rank_budget
        self.latest |= self._more_metrics()
        self._is_reported = False
        self._note_step(result)
        if not (self._full_is_due or self._part_is_due):
            self._report(full=None, part=None)

    @property
    def can_step(self) -> bool:
        """Whether all that the next step learns from is there."""
        return True

    def prepare_step(self, abandon: Callable[[], bool]) -> None:
        """Do what the next step needs. What `abandon` ends stays due."""

    def close(self) -> None:
        """Stop waiting for what has been asked for."""

    def _more_metrics(self) -> dict[str, Any]:
        """Return what is reported of a step beside its result."""
        return {}

    def _note_step(self, result: StepResult) -> None:
        """Look for warnings that follow from the step's loss."""
        self._add_warnings(self._curves.note_step(result.step, result.loss, self.trainee.steps_per_epoch))

    @property
    def record(self) -> TrainingRecord:
        """The record that a checkpoint of the present state needs, so that a resumed job reports the same."""
        notes = {
            "best": asdict(self.best),
            "curves": asdict(self._curves),
            UNTOLD_WARNINGS: [asdict(warning) for warning in self._untold],
            ANSWERS_ARE_DUE: self._answers_are_due,
        }
        return TrainingRecord(self.latest, notes)

    @property
    def complete(self) -> bool:
        return self._is_reported and not self._answers_are_due

    @property
    def is_promised(self) -> bool:
        """Whether clients are promised a checkpoint of the present state: at the end of each epoch."""
        return self.trainee.at_epoch_end

    @property
    def still_promised(self) -> Collection[int] | None:
        """The only steps whose checkpoints clients are still promised; None if they are the newest ones."""
        return None

    @property
    def at_best(self) -> bool:
        """Whether the validation loss of the present state is the lowest so far."""
        return self.complete and self.best.step == self.trainee.step

    @property
    def progress_made(self) -> tuple[int, bool]:
        """A value that two states share if a checkpoint of one adds nothing to a checkpoint of the other."""
        return self.trainee.step, self.complete or not self.latest

    @property
    def is_due(self) -> bool:
        """Whether a validation of the present state is due and has not been made yet."""
        has_validation = self._full_is_due or self._part_is_due
        return has_validation and not self._is_reported and self._found is None

    def read_validation(self) -> tuple[str, Sequence[Row], Sequence[int]]:
        """Return the validation that is due, on all rows and on the first ones. Raises OSError.

        It has the trainee's name, the rows, and on how many of them the trainee is evaluated.
        """
        few = self._valid_rows[: self._few]
        rows = self._valid_rows if self._full_is_due else few
        return self.trainee.name, rows, [len(rows), len(few)]

    def take_validation(self, found: Sequence[Evaluation], seconds: float) -> None:
        """Take in the result, from a pass that took `seconds`; `validate` then reports it."""
        full, part = found
        self._found = full, part
        self._remaining.note_evaluation(seconds, self._full_is_due)

    def validate(self, abandon: Callable[[], bool]) -> None:
        """Make the validation and the answers that are due. What `abandon` ends stays due."""
        if not self._is_reported:
            self._validate(abandon)
        if self._answers_are_due:
            self._answer(abandon)

    def _validate(self, abandon: Callable[[], bool]) -> None:
        """Make the validation with its samples, and report the step."""
        try:
            full, part = self._evaluate(abandon)
            samples = self._samples.take(abandon)
        except Abandoned:
            return
        self._report(full, part)
        self._samples.report(self.trainee.step, samples)
        ended_early = self.trainee.finished and not samples  # the report has ended the training
        self._answers_are_due = ended_early and bool(self._samples)
        self.progress("training", self.latest["tokens_per_second"])

    def _answer(self, abandon: Callable[[], bool]) -> None:
        self.progress("answering prompts")
        try:
            samples = self._samples.take(abandon)
        except Abandoned:
            return
        self._answers_are_due = False
        self._samples.report(self.trainee.step, samples)
        self.progress("training")

    def report_warnings(self) -> None:
        """Report the warnings that the losses have led to, unless this candidate may still be dropped."""
        if self._reporter.decided:
            for warning in self._untold:
                self._reporter.warn(warning)
            self._untold = []

    @property
    def ranks_to_measure(self) -> list[int]:
        """The ranks that are left to measure; none for an adapter that cannot be cut to any rank."""
        adapter = self._adapter
        if isinstance(adapter, LoraAdapter) and adapter.dynamic_rank:
            return measured_ranks(adapter.r)[len(self.ranks) :]
        return []

    def measure_ranks(self, abandon: Callable[[], bool]) -> None:
        """Evaluate the adapter cut to each rank that is left to measure, and add the results to `ranks`.

        If `abandon` ends this early, the ranks that are left stay due.
        """
        for rank in self.ranks_to_measure:
            self.progress("measuring ranks")
            try:
                found = (
                    self._process_group.evaluate(self.trainee.name, self._valid_rows, rank, abandon=abandon)
                    if self._valid_rows
                    else None
                )
            except Abandoned:
                return
            loss, accuracy = (found.loss, found.accuracy) if found else (None, None)
            measured = _as_json(full_valid_loss=loss, full_valid_mean_token_accuracy=accuracy)
            self.ranks.append({"rank": rank, **measured})

    def progress(self, phase: str, tokens_per_second: float | None = None) -> None:
        """Report the phase, and where the training stands."""
        trainee = self.trainee
        whole, part = self._tokens
        schedule = Schedule(
            trainee.last_step,
            trainee.steps_per_epoch,
            self._eval_steps,
            self._takes_all_rows,
            whole,
            part,
        )
        left = self._remaining.left(schedule, trainee.step)
        self._reporter.progress(
            Progress(
                phase,
                trainee.step,
                trainee.last_step,
                trainee.epoch,
                tokens_per_second,
                self.trained_tokens,
                left,
                self._best_loss,
                self.best.step,
            )
        )

    @property
    def _full_is_due(self) -> bool:
        """Whether to evaluate on all validation rows.

        This is due at the end of an epoch, and at every evaluation of a job that always takes all rows.
        """
        due = self.trainee.at_epoch_end or (self._takes_all_rows and self._part_is_due)
        return bool(self._valid_rows) and due

    @property
    def _takes_all_rows(self) -> bool:
        """Whether every evaluation takes all validation rows: if the best state is to be published."""
        return self._publishes_best

    @property
    def _part_is_due(self) -> bool:
        """Whether to evaluate on the first validation rows: every `eval_steps`, and after the last step."""
        due = self.trainee.finished or self.trainee.step % self._eval_steps == 0
        return bool(self._valid_rows) and due

    def _evaluate(self, abandon: Callable[[], bool]) -> tuple[Evaluation | None, Evaluation | None]:
        """Return the evaluations that are due, on all rows and on the first ones. Raises Abandoned."""
        if self.is_due:
            validate_together(self._process_group, [self], abandon)
        full, part = self._found or (None, None)
        return full if self._full_is_due else None, part if self._part_is_due else None

    def _report(self, full: Evaluation | None, part: Evaluation | None) -> None:
        validation = _as_json(
            valid_loss=part.loss if part else None,
            valid_mean_token_accuracy=part.accuracy if part else None,
            full_valid_loss=full.loss if full else None,
            full_valid_mean_token_accuracy=full.accuracy if full else None,
            **_prefixed("valid_", part),
            **_prefixed("full_valid_", full),
        )
        self.latest = {**self.latest, **validation}
        self._is_reported, self._found = True, None
        self._reporter.metrics(StepMetrics(self.latest["step"], self.latest), self._message())
        if part:
            self._add_warnings(self._curves.note_evaluation(self.trainee.step, part.loss))
        if full:
            self.best.note(
                self.trainee.step, self._to_minimise(full), self._training.early_stopping_threshold
            )
            self._stop_if_it_is_time()

    @property
    def _best_loss(self) -> float | None:
        """The loss of the best state so far, in nats."""
        return self.best.loss

    def _to_minimise(self, found: Evaluation) -> float:
        """Return the number that is lowest in the best state."""
        return found.loss

    def _add_warnings(self, found: Iterable[TrainingWarning]) -> None:
        known = {warning.code for warning in self._untold}
        self._untold += [warning for warning in found if warning.code not in known]
        self.report_warnings()

    def _stop_if_it_is_time(self) -> None:
        """Stop the training if the validation loss has not fallen for as long as the patience allows."""
        patience, trainee, best = self._training.early_stopping_patience, self.trainee, self.best
        if patience is None or best.since < patience or trainee.finished:
            return
        trainee.stop()
        numbers = {
            "step": trainee.step,
            "total_steps": trainee.total_steps,
            "best_step": best.step,
            "best_valid_loss": best.loss,
            "valid_loss": self.latest["full_valid_loss"],
            "patience": patience,
            "threshold": self._training.early_stopping_threshold,
        }
        message = (
            f"Stopped early at step {trainee.step} of {trainee.total_steps}: in {patience} evaluations, the "
            f"validation loss has not fallen by more than {self._training.early_stopping_threshold:g}. "
        )
        message += f"The best was {best.loss:.4g}, at step {best.step}." if best.loss is not None else ""
        self._reporter.event(
            message.rstrip(), data={"code": "early_stopping", **numbers}, once_as="early_stopping"
        )

    def _message(self) -> str:
        metrics = self.latest
        message = (
            f"Step {metrics['step']}/{metrics['total_steps']}: training loss={metrics['train_loss']:.2f}"
        )
        if metrics["valid_loss"] is not None:
            message += f", validation loss={metrics['valid_loss']:.2f}"
        if metrics["full_valid_loss"] is not None:
            message += f", full validation loss={metrics['full_valid_loss']:.2f}"
        return message


def validate_together(
    process_group: ProcessGroup, evaluators: Sequence[Evaluator], abandon: Callable[[], bool]
) -> None:
    """Make the validations that are due in one pass, as all of these evaluators would make them alone.

    If a loss is not finite beside others, its validation stays due: the NaN may be a neighbour's. Raises
    Abandoned, and OSError if rows cannot be read.
    """
    due = [evaluator for evaluator in evaluators if evaluator.is_due]
    validations = [evaluator.read_validation() for evaluator in due]
    for evaluator in due:
        evaluator.progress("validating", evaluator.latest["tokens_per_second"])
    began = time.monotonic()
    evaluations = process_group.evaluate_together(validations, abandon=abandon)
    seconds = time.monotonic() - began
    for evaluator, mine in zip(due, evaluations, strict=True):
        if len(due) == 1 or all(isfinite(each.loss) for each in mine):
            evaluator.take_validation(mine, seconds)


def _prefixed(prefix: str, found: Evaluation | None) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in found.metrics.items()} if found else {}


def _as_json(**values: float | None) -> dict[str, Any]:
    """Return the values, with None for each value that is not finite."""
    return {name: finite(value) for name, value in values.items()}
