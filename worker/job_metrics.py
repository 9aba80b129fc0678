"""What a client reads of a job's steps: progress, metrics and validation losses."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from core.lifecycle import Progress
from worker.crew import Crew
from worker.data.render import Row
from worker.engine.member import Member, StepResult
from worker.engine.totals import Evaluation
from worker.reporter import Reporter, StepMetrics

EVALUATIONS_PER_EPOCH = 4
MIN_EVAL_STEPS = 10
EVAL_ROWS = 16
RATE_SMOOTHING = 0.8  # weight of the past in the mean seconds per step


class JobMetrics:
    """Measures one job and reports it. `latest` are the last step's metrics, {} before the first."""

    def __init__(
        self,
        crew: Crew,
        member: Member,
        reporter: Reporter,
        valid_rows: Sequence[Row],
        eval_steps: int | None,
        latest: dict[str, Any],
    ) -> None:
        """`latest` is what the checkpoint that the job goes on from was made with."""
        self.latest = latest
        self.trained_tokens = member.trained_tokens
        self._crew = crew
        self._member = member
        self._reporter = reporter
        self._valid_rows = valid_rows
        self._eval_steps = eval_steps or max(MIN_EVAL_STEPS, member.steps_per_epoch // EVALUATIONS_PER_EPOCH)
        self._seconds_per_step: float | None = None

    def step(self, result: StepResult, seconds: float) -> None:
        """Report a step, of a round that took `seconds`; evaluate where that is due.

        The rate is the job's own tokens over the whole round's time: neighbours make a round longer.
        """
        self.trained_tokens += result.tokens
        past = self._seconds_per_step if self._seconds_per_step is not None else seconds
        self._seconds_per_step = RATE_SMOOTHING * past + (1 - RATE_SMOOTHING) * seconds
        rate = result.tokens / seconds
        self.progress("training", rate)
        self.latest = self._measure(result, rate)
        self._reporter.metrics(StepMetrics(result.step, self.latest), self._message())

    def progress(self, phase: str, tokens_per_second: float | None = None) -> None:
        member = self._member
        left = (member.total_steps - member.step) * self._seconds_per_step if self._seconds_per_step else None
        self._reporter.progress(
            Progress(
                phase,
                member.step,
                member.total_steps,
                member.epoch,
                tokens_per_second,
                self.trained_tokens,
                left,
            )
        )

    def _measure(self, result: StepResult, tokens_per_second: float) -> dict[str, Any]:
        valid = full = None
        if self._valid_rows:
            if self._member.at_epoch_end:
                full = self._evaluate(self._valid_rows)
            if self._member.finished or result.step % self._eval_steps == 0:
                valid = self._evaluate(self._valid_rows[:EVAL_ROWS])
        values: dict[str, float | None] = {
            "step": result.step,
            "total_steps": self._member.total_steps,
            "train_loss": result.loss,
            "train_mean_token_accuracy": result.accuracy,
            "valid_loss": valid.loss if valid else None,
            "valid_mean_token_accuracy": valid.accuracy if valid else None,
            "full_valid_loss": full.loss if full else None,
            "full_valid_mean_token_accuracy": full.accuracy if full else None,
            "learning_rate": result.learning_rate,
            "grad_norm": result.gradient_norm,
            "tokens_per_second": tokens_per_second,
        }
        # A validation loss may overflow, and JSON has no number for that
        return {name: value if value is None or isfinite(value) else None for name, value in values.items()}

    def _evaluate(self, rows: Sequence[Row]) -> Evaluation:
        return self._crew.evaluate(self._member, rows)

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
