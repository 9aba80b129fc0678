"""One claimed job from its rows to its adapter: what surrounds the training steps."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from core import lifecycle
from core.errors import JobError
from core.jobspec import JobSpec
from core.lifecycle import Lease
from core.models import Job
from core.settings import Settings
from core.storage import ObjectStore
from worker.checkpoint import drop_old_checkpoints, restore_checkpoint, save_checkpoint
from worker.crew import Crew
from worker.data.reader import DataReader, JobData
from worker.engine.base_model import ResidentBase
from worker.engine.member import Member, StepResult
from worker.fingerprint import fingerprint
from worker.job_metrics import JobMetrics
from worker.publish import describe_dataset, publish, write_adapter_folder
from worker.reporter import Reporter


class TrainingJob:
    """A member of the cohort, with its lease, its reports and its checkpoints.

    Read, attached, stepped, and then published, paused or given back. Raises JobError where the job cannot go
    on, and LeaseLost where it is not ours any more.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        store: ObjectStore,
        settings: Settings,
        crew: Crew,
        lease: Lease,
        row: Job,
        claimed_at: float,
    ) -> None:
        self.lease = lease
        self.alone = lease.alone  # nobody may compute beside it before its next checkpoint
        self.state_bytes = 0  # what it takes of the cohort's budget, known with its base model
        self.reporter = Reporter(sessions, lease, claimed_at)
        self._store = store
        self._settings = settings
        self._crew = crew
        self._row = row
        self._reader: DataReader | None = None
        self._member: Member | None = None
        self._leaving = ExitStack()

    @cached_property
    def spec(self) -> JobSpec:
        return JobSpec.model_validate(self._row.spec)

    @cached_property
    def _folder(self) -> Path:
        """Made when it is needed: a disk that fails is met by an action of this job, which alone is lost."""
        folder = TemporaryDirectory(prefix="tunery-job-", ignore_cleanup_errors=True)
        return Path(self._leaving.enter_context(folder))

    @property
    def member(self) -> Member:
        assert self._member is not None
        return self._member

    @property
    def attached(self) -> bool:
        """Whether it takes part in rounds."""
        return self._member is not None

    @property
    def waits_to_be_attached(self) -> bool:
        """Whether its rows have been read, or could not be."""
        return self._member is None and self._reader is not None and self._reader.data.done()

    def start_reading(self, base: ResidentBase, readers: Executor) -> Future[JobData]:
        """Download and render the rows in a thread of `readers`, while other jobs train."""
        self._base = base
        if base.slow_because:
            self.reporter.event(base.slow_because, level="warn")
        max_length = self.spec.training.max_length or base.entry.max_length
        self._reader = DataReader(self._row, base.tokenizer, max_length, self._store, self.reporter, readers)
        return self._reader.data

    @property
    def trained(self) -> bool:
        """Whether nothing but its publication is left."""
        return self.attached and self.member.finished and self._metrics.complete

    @property
    def ready_to_step(self) -> bool:
        """Whether it has another step to make, and owes no evaluation of the last one."""
        return self.attached and not self.member.finished and self._metrics.complete

    def attach(self) -> None:
        """Add the adapter to the base, and continue from a checkpoint where there is one."""
        assert self._reader is not None
        data = self._data = self._reader.data.result()
        member = self._crew.join(self.lease.job_id, self.spec, data.training_rows)
        self._fingerprint = fingerprint(self._row.spec, self._base, data.training_rows)
        latest = restore_checkpoint(member, self.reporter, self._store, self._folder, self._fingerprint)
        self._crew.share_state(member)
        self._metrics = JobMetrics(
            self._crew,
            member,
            self.reporter,
            data.validation_rows,
            self.spec.training.eval_steps,
            latest,
        )
        self._saved = self._metrics.state
        self._trial_step = max(member.step, self.lease.trial_step or 0)
        self._checkpoint_at = time.monotonic()
        self._member = member
        self._metrics.progress("training")

    def after_step(self, result: StepResult | Exception, seconds: float) -> None:
        """Take in a step of a round that took `seconds`. What is due then, `settle` does."""
        if isinstance(result, Exception):
            raise result
        self._metrics.step(result, seconds)

    def settle(self, abandon: Callable[[], bool]) -> None:
        """Evaluate and write a checkpoint where they are due, unless `abandon` ends the evaluation.

        A suspect that has stood its trial saves that before all else: its neighbours wait for it.
        """
        if self.alone and self.member.step > self._trial_step:
            self.save_checkpoint()
        self._metrics.validate(abandon)
        if self._metrics.complete and self._checkpoint_is_due() and self.save_checkpoint():
            drop_old_checkpoints(self.reporter, self._store)

    def save_checkpoint(self) -> bool:
        """Commit the present state. False where it is committed, or there is none yet. Raises LeaseLost."""
        if self._member is None or self._metrics.state == self._saved:
            return False
        self._metrics.progress("saving a checkpoint")
        folder = self._folder / f"step-{self._member.step}"
        save_checkpoint(
            self._member, self.reporter, self._store, folder, self._fingerprint, self._metrics.latest
        )
        shutil.rmtree(folder)
        self.alone = False  # what it has brought so far, no trainer was lost through
        self._saved = self._metrics.state
        self._checkpoint_at = time.monotonic()
        self._metrics.progress("training")
        return True

    def publish(self) -> None:
        """Upload the adapter and end the job with success. Raises LeaseLost."""
        self._metrics.progress("publishing")
        folder = self._folder / "adapter"
        training = self._summary()
        dataset = describe_dataset(self._data.training_file, self._data.validation_file)
        write_adapter_folder(folder, self.member.adapter, self._base, self._row, training, dataset)
        publish(folder, self._row, self.reporter, self._store, training)

    def pause(self) -> bool:
        """Save a checkpoint and pause. False where the request was taken back. Raises LeaseLost."""
        self.save_checkpoint()
        return self.reporter.commit(lambda session: lifecycle.finish_pause(session, self.lease))

    def give_back(self, reason: str) -> None:
        """Save a checkpoint and let another worker go on. Raises LeaseLost."""
        self.save_checkpoint()
        self.reporter.commit(lambda session: lifecycle.release(session, self.lease, reason))

    def fail(self, error: JobError) -> None:
        """Raises LeaseLost."""
        self.reporter.commit(lambda session: lifecycle.fail(session, self.lease, error))

    def lose(self, reason: str) -> None:
        """Give the job back after a fault that was not its own. Raises LeaseLost."""
        limit = self._settings.max_lost_attempts
        self.reporter.commit(lambda session: lifecycle.lose(session, self.lease, reason, limit))

    def out_of_memory(self) -> JobError:
        """What to tell the client: the longest row, and what would fit."""
        if self._member is None:
            return JobError(
                "out_of_memory",
                "The base model with the adapter does not fit into the device's memory: "
                "lower adapter.r, or choose a smaller model.",
                "model",
            )
        longest = max(self._member.rows, key=lambda row: len(row.tokens_L))
        return JobError(
            "out_of_memory",
            f"The device's memory does not suffice. The longest row, line {longest.line}, has "
            f"{len(longest.tokens_L)} tokens: lower training.max_length, or adapter.r.",
            "training.max_length",
        )

    def close(self) -> None:
        """Leave nothing behind in this process."""
        if self._reader is not None:
            self._reader.close()
        self.reporter.close()
        self._crew.leave(self.lease.job_id)
        self._member = None  # with all that it holds on the device
        self._leaving.close()

    def _checkpoint_is_due(self) -> bool:
        age = time.monotonic() - self._checkpoint_at
        return self.member.at_epoch_end or age > self._settings.checkpoint_seconds

    def _summary(self) -> dict[str, Any]:
        """How the adapter was trained, for its manifest and card."""
        kept = ("train_loss", "full_valid_loss", "full_valid_mean_token_accuracy")
        return {
            "base_revision": self._base.entry.revision,
            "dtype": str(self._base.dtype).removeprefix("torch."),
            "quantization": self._base.entry.quantization,
            "decoder": self._base.decoder.path,
            "steps": self.member.step,
            "trained_tokens": self._metrics.trained_tokens,
            **{key: self._metrics.latest[key] for key in kept},
            "target_modules": sorted(self.member.adapter.config.target_modules),
        }
