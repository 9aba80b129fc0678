"""One claimed job from its rows to its adapter: what surrounds the training steps."""

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from core.errors import JobError
from core.jobs import lifecycle
from core.jobs.lifecycle import Lease
from core.jobs.spec import JobSpec
from core.methods.low_rank import LoraAdapter
from core.methods.registry import METHODS
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import Job
from worker.candidates.candidates import Candidates, names_of
from worker.data.reader import DataReader, JobData
from worker.devices.process_group import ProcessGroup
from worker.engine.adapters.dynamic_rank import measured_ranks
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.passes import Abandoned
from worker.engine.step.trainee import StepResult, Trainee
from worker.report.evaluation import JobMetrics
from worker.report.job_lease import JobLease
from worker.save.checkpoint import (
    WrittenCheckpoint,
    drop_old_checkpoints,
    restore_checkpoint,
    ship_checkpoint,
    take_up_best,
    write_checkpoint,
)
from worker.save.fingerprint import fingerprint
from worker.save.publish import describe_dataset, publish, write_adapter_folder
from worker.save.shipping import Shipping


class TrainingJob:
    """A trainee of the cohort, or several candidates, with its lease, its reports and its checkpoints.

    Read, attached, stepped, and then published, paused or given back. Raises JobError where the job cannot go
    on, and LeaseLost where it is not ours any more.

    Checkpoints and the adapter are written to the disk here, and shipped beside the training. One checkpoint
    at most is under way: another that falls due waits, and at an epoch's end the job waits with it.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        store: ObjectStore,
        settings: Settings,
        process_group: ProcessGroup,
        lease: Lease,
        row: Job,
        claimed_at: float,
        shipping: Shipping,
    ) -> None:
        self.lease = lease
        self.alone = lease.alone  # nobody may compute beside it before its next checkpoint
        self.state_bytes = 0  # what it takes of the cohort's budget, known with its base model
        self.job_lease = JobLease(sessions, lease, claimed_at)
        self._store = store
        self._settings = settings
        self._process_group = process_group
        self._row = row
        self._reader: DataReader | None = None
        self._candidates: Candidates | None = None
        self._to_publish: dict[str, Any] | None = None  # metrics of the state that the trainee then has
        self._shipping = shipping
        self.being_published = False  # it computes no more, and has let go of all that it needed for that
        self.pausing = False  # it holds still until its checkpoint and the pause have arrived
        self._resident: ResidentBase | None = None
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
    def _base(self) -> ResidentBase:
        assert self._resident is not None
        return self._resident

    @property
    def candidates(self) -> Candidates:
        assert self._candidates is not None
        return self._candidates

    @property
    def trainee(self) -> Trainee:
        """The only one, or the leading candidate's."""
        return self.candidates.best.trainee

    @property
    def metrics(self) -> JobMetrics:
        return self.candidates.best.metrics

    @property
    def trainees(self) -> list[Trainee]:
        """Those that make the next step."""
        return self.candidates.trainees

    @property
    def attached(self) -> bool:
        """Whether it takes part in rounds."""
        return self._candidates is not None

    @property
    def waits_to_be_attached(self) -> bool:
        """Whether its rows have been read, or could not be."""
        return self._candidates is None and self._reader is not None and self._reader.data.done()

    def start_reading(self, base: ResidentBase, readers: Executor) -> Future[JobData]:
        """Download and render the rows in a thread of `readers`, while other jobs train."""
        self._resident = base
        if base.slow_path_warning:
            self.job_lease.event(base.slow_path_warning, level="warn")
        max_length = self.spec.training.max_length or base.entry.max_length
        self._reader = DataReader(self._row, base.tokenizer, max_length, self._store, self.job_lease, readers)
        return self._reader.data

    @property
    def trained(self) -> bool:
        """Whether nothing but its publication is left."""
        return self.attached and self._to_publish is not None and not self._ranks_to_measure

    @property
    def ready_to_step(self) -> bool:
        """Whether it has another step to make, and owes neither evaluation nor checkpoint of the last one."""
        return self.attached and not self.candidates.finished and self._is_settled

    def attach(self, abandon: Callable[[], bool]) -> None:
        """Add the adapter to the base, and continue from a checkpoint where there is one.

        Where `abandon` ends that, it still waits to be attached.
        """
        data = self._data
        candidates = Candidates(
            self._process_group, self.lease.job_id, self.spec, data, self.job_lease, abandon
        )
        self._fingerprint = fingerprint(self._row.spec, self._base, data.training_rows)
        try:
            restore_checkpoint(candidates, self.job_lease, self._store, self._folder, self._fingerprint)
            candidates.begin()
        except Abandoned:
            candidates.let_go()
            return
        self._sent = candidates.progress_made
        self._trial_step = max(candidates.step, self.lease.step_to_pass or 0)
        self._checkpoint_at = time.monotonic()
        self._candidates = candidates
        self._count_bytes()
        self.metrics.progress("training")

    def after_step(self, trainee: Trainee, result: StepResult | Exception, seconds: float) -> None:
        """Take in a trainee's step of a round that took `seconds`. What is due then, `settle` does."""
        self.candidates.take(trainee, result, seconds)

    def settle(self, abandon: Callable[[], bool]) -> None:
        """Evaluate and send a checkpoint where they are due, unless `abandon` ends the evaluation.

        A suspect that has stood its trial sends that before all else: its neighbours wait for it.
        """
        if self.alone and self.trainee.step > self._trial_step and not self._shipping.under_way:
            self._send_checkpoint()
        self.candidates.settle(abandon)
        if not self.attached:  # it was let go meanwhile
            return
        self._count_bytes()
        if self.candidates.complete and self._checkpoint_is_due:
            if not self._shipping.under_way:
                self._send_checkpoint()
                self._shipping.send(partial(drop_old_checkpoints, self.job_lease, self._store))
            elif self._owes_a_checkpoint:
                self.metrics.progress("saving a checkpoint")
        if self.candidates.finished and self._is_settled:
            self._choose_what_to_publish()
        if self._to_publish is not None:
            self.metrics.measure_ranks(self._ranks_to_measure, abandon)

    def publish(self) -> None:
        """Write the adapter, let go of what computes, and send what ends the job with success."""
        self.metrics.progress("publishing")
        folder = self._folder / "adapter"
        if decided := self.candidates.win():
            self._row.spec = decided.model_dump(mode="json")
        training, trained_tokens = self._summary(), self.candidates.trained_tokens
        dataset = describe_dataset(self._data.training_file, self._data.validation_file)
        write_adapter_folder(folder, self.trainee.adapter, self._base, self._row, training, dataset)
        self._stop_computing()
        self.being_published = True
        self._shipping.send(
            partial(publish, folder, self._row, self.job_lease, self._store, training, trained_tokens)
        )

    def has_ended(self) -> bool:
        """Whether it has been published or paused. Raises what went wrong with that, or with a checkpoint."""
        return self._shipping.arrived() and (self.being_published or self.pausing)

    def pause(self) -> None:
        """Send a checkpoint, and then the pause. Where the request was taken back by then, it trains on."""
        self.pausing = True
        self._send_checkpoint()
        self._shipping.send(self._finish_pause)

    def give_back(self, reason: str) -> None:
        """Send a checkpoint, and then the word that another worker may go on. A publication goes on."""
        if not self.being_published:
            self._send_checkpoint()
            self._shipping.send(lambda: self._release(reason))

    def wait_for_shipping(self) -> None:
        """Until nothing is under way. Raises what went wrong with it."""
        self._shipping.wait()

    def fail(self, error: JobError) -> None:
        """Raises LeaseLost."""
        self.job_lease.commit(lambda session: lifecycle.fail(session, self.lease, error))

    def lose(self, reason: str) -> None:
        """Give the job back after a fault that was not its own. Raises LeaseLost."""
        limit = self._settings.max_lost_attempts
        self.job_lease.commit(lambda session: lifecycle.lose(session, self.lease, reason, limit))

    def out_of_memory(self) -> JobError:
        """What to tell the client: the longest row, and what would fit."""
        if self._candidates is None:
            return JobError(
                "out_of_memory",
                "The base model with what is trained does not fit into the device's memory: "
                f"{self._way_to_need_less}, or choose a smaller model.",
                "model",
            )
        longest = max(self.trainee.rows, key=lambda row: len(row.tokens_L))
        return JobError(
            "out_of_memory",
            f"The device's memory does not suffice. The longest row, line {longest.line}, has "
            f"{len(longest.tokens_L)} tokens: lower training.max_length, or {self._way_to_need_less}.",
            "training.max_length",
        )

    @property
    def _way_to_need_less(self) -> str:
        return "train LoRA" if METHODS[self.spec.adapter.type].result == "model" else "lower adapter.r"

    def close(self) -> None:
        """Leave nothing behind in this process, once what is under way has ended: nobody waits for that."""
        self._stop_computing()
        self.job_lease.close()
        self._shipping.abandon(then=self._leaving.close)

    @property
    def _data(self) -> JobData:
        assert self._reader is not None
        return self._reader.data.result()

    @property
    def _is_settled(self) -> bool:
        return self.candidates.complete and not self._owes_a_checkpoint

    @property
    def _owes_a_checkpoint(self) -> bool:
        """Whether a checkpoint that clients get, or that the adapter is to come from, has not been sent."""
        return self._is_a_milestone and self._has_news

    @property
    def _is_a_milestone(self) -> bool:
        """Whether an epoch ends here, or the job, or the state is one that may be published."""
        best = self.spec.publishes_best and self.metrics.at_best
        return self.trainee.at_epoch_end or self.trainee.finished or best

    @property
    def _checkpoint_is_due(self) -> bool:
        age = time.monotonic() - self._checkpoint_at
        return self._has_news and (self._is_a_milestone or age > self._settings.checkpoint_seconds)

    @property
    def _has_news(self) -> bool:
        """Whether there is a state that was not sent yet."""
        return self._candidates is not None and self._candidates.progress_made != self._sent

    def _send_checkpoint(self) -> None:
        """Of the present state, where it has news."""
        if not self._has_news:
            return
        folder = Path(mkdtemp(prefix=f"step-{self.trainee.step}-", dir=self._folder))
        written = write_checkpoint(self.candidates, folder, self._fingerprint)
        self._shipping.send(partial(self._ship_checkpoint, written))
        self._sent = self.candidates.progress_made
        self._checkpoint_at = time.monotonic()

    def _choose_what_to_publish(self) -> None:
        """Take up the best state, once it has been shipped, where that was asked for and is another one."""
        if self.spec.publishes_best and self.metrics.best.step not in (None, self.trainee.step):
            if self._shipping.under_way:
                return
            self._to_publish = self._best_state()
        self._to_publish = self._to_publish or self.metrics.latest

    @property
    def _ranks_to_measure(self) -> list[int]:
        """What is left of them, of an adapter that can be cut to any rank; else none."""
        adapter = self.spec.adapter
        if isinstance(adapter, LoraAdapter) and adapter.dynamic_rank:
            return measured_ranks(adapter.r)[len(self.metrics.ranks) :]
        return []

    def _best_state(self) -> dict[str, Any] | None:
        """Its metrics, with the trainee in that state; None where it cannot be had."""
        step = self.metrics.best.step
        assert step is not None
        where = self.job_lease, self._store, self._folder, self._fingerprint
        found = take_up_best(self.trainee, step, *where)
        self._process_group.share_state(self.trainee)
        return found

    def _finish_pause(self) -> None:
        if not self.job_lease.commit(lambda session: lifecycle.finish_pause(session, self.lease)):
            self.job_lease.pause_requested = False
            self.pausing = False

    def _release(self, reason: str) -> None:
        self.job_lease.commit(lambda session: lifecycle.release(session, self.lease, reason))

    def _ship_checkpoint(self, written: WrittenCheckpoint) -> None:
        ship_checkpoint(written, self.job_lease, self._store)
        self.alone = False  # what it has brought so far, no trainer was lost through

    def _stop_computing(self) -> None:
        """Let go of the rows, of the trainee with all that it holds on the device, and of the base model:
        what is still being shipped may outlast the next one's loading."""
        if self._reader is not None:
            self._reader.close()
        for name in names_of(self.lease.job_id, self.spec):
            self._process_group.leave(name)
        self._reader = self._candidates = self._resident = None
        self.state_bytes = 0

    def _count_bytes(self) -> None:
        """Candidates that were dropped make room."""
        if self.spec.search is None:
            return
        self.state_bytes = self._process_group.state_bytes(self.spec, self.candidates.numbers)

    def _summary(self) -> dict[str, Any]:
        """How the adapter was trained, for its manifest and card."""
        kept = ("train_loss", "full_valid_loss", "full_valid_mean_token_accuracy")
        published = self._to_publish
        assert published is not None
        return {
            "base_revision": self._base.entry.revision,
            "dtype": str(self._base.dtype).removeprefix("torch."),
            "quantization": self._base.entry.quantization,
            "decoder": self._base.decoder.path,
            "steps": self.trainee.step,
            "published_step": published["step"],
            "stopped_early": self.trainee.last_step < self.trainee.total_steps,
            "trained_tokens": self.metrics.trained_tokens,
            **{key: published[key] for key in kept},
            "target_modules": self.trainee.adapter.target_modules,
            **({"ranks": self.metrics.ranks} if self.metrics.ranks else {}),
        }
