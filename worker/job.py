"""One claimed job from its rows to its adapter: what surrounds the training steps."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from core import lifecycle
from core.datasets.check import read_rows
from core.errors import JobError
from core.jobspec import JobSpec
from core.lifecycle import Lease, Progress
from core.models import File, Job
from core.settings import Settings
from core.storage import ObjectStore
from worker.checkpoint import drop_old_checkpoints, restore_checkpoint, save_checkpoint
from worker.data.render import Rendered, Row, render
from worker.engine.adapters import TrainableAdapter, adapter_name
from worker.engine.base_model import ResidentBase
from worker.engine.loop import Evaluation, evaluate
from worker.engine.member import Member, StepResult
from worker.publish import describe_dataset, publish, write_adapter_folder
from worker.reporter import Reporter, StepMetrics

EVALUATIONS_PER_EPOCH = 4
MIN_EVAL_STEPS = 10
EVAL_ROWS = 16
RATE_SMOOTHING = 0.8  # weight of the past in the mean seconds per step
LISTED_LINES = 10


class TrainingJob:
    """A member of the cohort, with its lease, its reports and its checkpoints.

    Raises JobError where the job cannot go on, and LeaseLost where it is not ours any more.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        store: ObjectStore,
        settings: Settings,
        lease: Lease,
        claimed_at: float,
    ) -> None:
        self.lease = lease
        self.reporter = Reporter(sessions, lease, claimed_at)
        self.folder = Path(tempfile.mkdtemp(prefix="tunery-job-"))
        self._sessions = sessions
        self._store = store
        self._settings = settings
        self._adapter: TrainableAdapter | None = None

    def prepare(self, base: ResidentBase) -> None:
        """Read the rows, attach the adapter, and continue from a checkpoint where there is one."""
        self._base = base
        if base.slow_because:
            self.reporter.event(base.slow_because, level="warn")
        with self._sessions() as session:
            self._row = session.get_one(Job, self.lease.job_id)
            training_file = session.get_one(File, self._row.training_file_id)
            validation_id = self._row.validation_file_id
            validation_file = session.get_one(File, validation_id) if validation_id else None
        self._files = training_file, validation_file
        self._spec = JobSpec.model_validate(self._row.spec)
        self._fingerprint = self._make_fingerprint(training_file)
        rows = self._rows(training_file, "training_file").rows
        self._valid_rows: Sequence[Row] = (
            self._rows(validation_file, "validation_file").rows if validation_file else ()
        )
        name = adapter_name(self.lease.job_id)
        self._adapter = TrainableAdapter(base, name, self._spec.adapter, self._spec.seed)
        self.member = Member(self._adapter, self._spec, rows)
        self._metrics = restore_checkpoint(
            self.member,
            self.reporter,
            self._sessions,
            self._store,
            self.folder / "resume",
            self._fingerprint,
        )
        self._saved_step = self.member.step
        self._trained_tokens = self.member.trained_tokens
        self._seconds_per_step: float | None = None
        self._stepped_at = self._checkpoint_at = time.monotonic()
        self._report_progress("training", None)

    def after_step(self, result: StepResult | JobError) -> None:
        """Report a step; evaluate and write a checkpoint where one is due."""
        if isinstance(result, JobError):
            raise result
        self._trained_tokens += result.tokens
        seconds = self._lap()
        past = self._seconds_per_step if self._seconds_per_step is not None else seconds
        self._seconds_per_step = RATE_SMOOTHING * past + (1 - RATE_SMOOTHING) * seconds
        self._report_progress("training", result.tokens / seconds)
        self._metrics = self._measure(result, result.tokens / seconds)
        self._report_metrics()
        if self._checkpoint_is_due():
            self.save_checkpoint()
        self._stepped_at = time.monotonic()  # evaluation and checkpoint are not the step's time

    def save_checkpoint(self) -> None:
        """Commit the present state, unless it is committed. Raises LeaseLost."""
        if self.member.step == self._saved_step:
            return
        self._report_progress("saving a checkpoint", None)
        folder = self.folder / f"step-{self.member.step}"
        save_checkpoint(self.member, self.reporter, self._store, folder, self._fingerprint, self._metrics)
        shutil.rmtree(folder)
        drop_old_checkpoints(self._sessions, self._store, self.reporter)
        self._saved_step = self.member.step
        self._checkpoint_at = time.monotonic()
        self._report_progress("training", None)

    def publish(self) -> None:
        """Upload the adapter and end the job with success. Raises LeaseLost."""
        self._report_progress("publishing", None)
        folder = self.folder / "adapter"
        training = self._summary()
        dataset = describe_dataset(*self._files)
        write_adapter_folder(folder, self.member.adapter, self._base, self._row, training, dataset)
        publish(folder, self._row, self.reporter, self._sessions, self._store, training)

    def fail(self, error: JobError) -> None:
        """Raises LeaseLost."""
        self.reporter.commit(lambda session: lifecycle.fail(session, self.lease, error))

    def release(self, reason: str) -> None:
        """Raises LeaseLost."""
        self.reporter.commit(lambda session: lifecycle.release(session, self.lease, reason))

    def lose(self, reason: str) -> None:
        """Give the job back after a fault that was not its own. Raises LeaseLost."""
        limit = self._settings.max_lost_attempts
        self.reporter.commit(lambda session: lifecycle.lose(session, self.lease, reason, limit))

    def out_of_memory(self) -> JobError:
        """What to tell the client: the longest row, and what would fit."""
        if self._adapter is None:
            return JobError("out_of_memory", "The base model does not fit into the device's memory.", "model")
        longest = max(self.member.rows, key=lambda row: len(row.tokens_L))
        return JobError(
            "out_of_memory",
            f"The device's memory does not suffice. The longest row, line {longest.line}, has "
            f"{len(longest.tokens_L)} tokens: lower training.max_length, or adapter.r.",
            "training.max_length",
        )

    def close(self) -> None:
        """Leave nothing behind in this process."""
        self.reporter.close()
        if self._adapter is not None:
            self._adapter.detach()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _rows(self, file: File, param: str) -> Rendered:
        self.reporter.progress(Progress("reading data"))
        entry = self._base.entry
        max_length = self._spec.training.max_length or entry.max_length
        try:
            stream = self._store.read(file.object_key)
        except FileNotFoundError as error:
            raise JobError("file_not_found", f"The content of {file.id} is gone.", param) from error
        rendered = render(self._base.tokenizer, read_rows(stream), max_length, param)
        for lines, what in (
            (rendered.cut, f"are longer than {max_length} tokens and were cut"),
            (rendered.left_out, "keep nothing to learn and were left out"),
        ):
            if lines:
                self.reporter.event(f"{param}: {_listed(lines)} {what}", level="warn", data={"lines": lines})
        return rendered

    def _make_fingerprint(self, training_file: File) -> str:
        """What a checkpoint must agree with to be continued."""
        parts = [self._row.spec, training_file.sha256, self._base.published_sha256]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _measure(self, result: StepResult, tokens_per_second: float) -> dict[str, Any]:
        valid = full = None
        if self._valid_rows:
            if self.member.at_epoch_end:
                full = self._evaluate(self._valid_rows)
            if self.member.finished or result.step % self._eval_steps() == 0:
                valid = self._evaluate(self._valid_rows[:EVAL_ROWS])
        values: dict[str, float | None] = {
            "step": result.step,
            "total_steps": self.member.total_steps,
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

    def _report_metrics(self) -> None:
        metrics = self._metrics
        message = (
            f"Step {self.member.step}/{self.member.total_steps}: training loss={metrics['train_loss']:.2f}"
        )
        if metrics["valid_loss"] is not None:
            message += f", validation loss={metrics['valid_loss']:.2f}"
        if metrics["full_valid_loss"] is not None:
            message += f", full validation loss={metrics['full_valid_loss']:.2f}"
        self.reporter.metrics(StepMetrics(self.member.step, metrics), message)

    def _evaluate(self, rows: Sequence[Row]) -> Evaluation:
        return evaluate(self._base, self.member.adapter, rows, self._settings.max_step_tokens)

    def _eval_steps(self) -> int:
        per_epoch = self.member.steps_per_epoch // EVALUATIONS_PER_EPOCH
        return self._spec.training.eval_steps or max(MIN_EVAL_STEPS, per_epoch)

    def _checkpoint_is_due(self) -> bool:
        age = time.monotonic() - self._checkpoint_at
        return self.member.at_epoch_end or age > self._settings.checkpoint_seconds

    def _lap(self) -> float:
        now = time.monotonic()
        seconds, self._stepped_at = now - self._stepped_at, now
        return seconds

    def _report_progress(self, phase: str, tokens_per_second: float | None) -> None:
        member = self.member
        left = (member.total_steps - member.step) * self._seconds_per_step if self._seconds_per_step else None
        self.reporter.progress(
            Progress(
                phase,
                member.step,
                member.total_steps,
                member.epoch,
                tokens_per_second,
                self._trained_tokens,
                left,
            )
        )

    def _summary(self) -> dict[str, Any]:
        """How the adapter was trained, for its manifest and card."""
        kept = ("train_loss", "full_valid_loss", "full_valid_mean_token_accuracy")
        return {
            "base_revision": self._base.entry.revision,
            "dtype": str(self._base.dtype).removeprefix("torch."),
            "quantization": self._base.entry.quantization,
            "decoder": self._base.decoder.path,
            "steps": self.member.step,
            "trained_tokens": self._trained_tokens,
            **{key: self._metrics[key] for key in kept},
            "target_modules": sorted(self.member.adapter.config.target_modules),
        }


def _listed(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:LISTED_LINES]))
    more = f" and {len(lines) - LISTED_LINES} more" if len(lines) > LISTED_LINES else ""
    return f"line{'s' if len(lines) > 1 else ''} {shown}{more}"
