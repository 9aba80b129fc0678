"""One job that a trainer has claimed, from its rows to its result."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from core.errors import JobError
from core.jobs import lifecycle, token_counts
from core.jobs.lifecycle import Lease
from core.jobs.measured import note
from core.jobs.spec import JobSpec
from core.methods.registry import METHODS
from core.settings import Settings
from core.storage.object_store import ObjectStore, adapters_prefix, checkpoints_prefix
from core.tables import Job
from worker.engine.adapters.published import Published
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.passes import Abandoned
from worker.engine.step.rehearsal import computed_share
from worker.engine.step.trainee import StepResult, Trainee
from worker.process.scratch import scratch_folder
from worker.trainer.candidates.candidates import Candidates, names_of
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.reader import DataReader, JobData, Readers, close_when_read
from worker.trainer.report.evaluation import Evaluator
from worker.trainer.report.heartbeats import Heartbeats
from worker.trainer.report.job_lease import JobLease
from worker.trainer.report.row_losses import RowLosses
from worker.trainer.save.job_checkpoints import JobCheckpoints
from worker.trainer.save.parent import fetch_parent
from worker.trainer.save.publish import DescribedBase, complete_adapter_folder, describe_dataset, publish
from worker.trainer.save.shipping import Shipping
from worker.trainer.train.preflight import is_wanted, run_preflight, told
from worker.trainer.train.stages import Idle, ReadingRows, Stage
from worker.trainer.train.training import Training

WAITS_FOR_MEMORY = "The job waits until it fits into the device's memory beside the jobs that train there now"


class TrainingJob:
    """A claimed job: its lease, its stage, and what it holds in that stage.

    Its methods take the job from stage to stage, and end it. They raise JobError if the job cannot go on, and
    LeaseLost if it does not belong to this trainer any more.

    Checkpoints and the result are written to the disk here, and shipped to the store beside the training.
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
        heartbeats: Heartbeats,
    ) -> None:
        """`claimed_at` is the value of time.monotonic() just before the claim."""
        self.lease = lease
        self.job_lease = JobLease(sessions, lease, claimed_at, heartbeats)
        self.alone = lease.alone
        """Whether no other job may compute meanwhile.

        This lasts until a checkpoint of a later step than the one at which the job was lost.
        """
        self.pausing = False
        """Whether the job holds still until its checkpoint is shipped and its pause is written."""
        self.waits_for_memory = False
        """Whether the job's rows are read, but it does not fit beside the jobs that train now."""
        self._state: Idle | ReadingRows | Training = Idle(Stage.CLAIMED)
        self._bytes_to_save = 0
        self._store = store
        self._settings = settings
        self._process_group = process_group
        self._row = row
        self._shipping = shipping
        self._leaving = ExitStack()
        self._rows = ExitStack()

    @property
    def stage(self) -> Stage:
        return self._state.stage

    @property
    def state_bytes(self) -> int:
        """Bytes of the cohort's budget that the job takes; 0 while it is idle."""
        return self._state.state_bytes

    @property
    def to_save(self) -> tuple[int, list[str]]:
        """How many bytes the job has to save at most, and under which prefixes of the store."""
        return self._bytes_to_save, [
            prefix(self.lease.job_id) for prefix in (checkpoints_prefix, adapters_prefix)
        ]

    @cached_property
    def spec(self) -> JobSpec:
        return JobSpec.model_validate(self._row.spec)

    @property
    def trainees(self) -> list[Trainee]:
        """The trainees that make the next step."""
        return self._training.candidates.trainees

    def start_reading(self, base: ResidentBase, readers: Readers) -> Future[JobData]:
        """Have the rows fetched and rendered by `readers`, while other jobs train."""
        self.job_lease.event("The base model is loaded", data={"code": "model_loaded"})
        if base.slow_path_warning:
            self.job_lease.event(base.slow_path_warning, level="warn")
        max_length = self.spec.training.max_length or base.entry.max_length
        state_bytes = self._process_group.state_bytes(self.spec, range(len(self.spec.candidates)))
        reader = DataReader(self._row, base, max_length, self.job_lease, readers)
        self._rows.callback(close_when_read, reader.data)
        self._state = ReadingRows(base, reader, state_bytes)
        self._bytes_to_save = state_bytes
        return reader.data

    def attach(self, abandon: Callable[[], bool]) -> None:
        """Attach the adapters to the base model, and continue from a checkpoint if there is one.

        The job still waits to be attached if it does not fit beside the attached jobs, or if `abandon` ends
        the attachment. Raises the error of reading the rows, if reading failed.
        """
        assert isinstance(self._state, ReadingRows)
        base, data = self._state.base, self._state.reader.data.result()
        waited = self.waits_for_memory
        self.waits_for_memory = not self._process_group.admits(self.spec, data.training_rows)
        if self.waits_for_memory:
            if not waited:
                self.job_lease.event(WAITS_FOR_MEMORY, once_as="waits for memory")
                self.job_lease.enter("waiting for memory")
            return
        candidates = Candidates(
            self._process_group, self.lease.job_id, self.spec, data, self.job_lease, abandon
        )
        checkpoints = JobCheckpoints(
            self.job_lease,
            self._store,
            self._shipping,
            self._folder,
            data.fingerprint,
            arrived=self._end_trial,
        )
        try:
            checkpoints.restore(candidates)
            candidates.begin(self._fetch_parent if self.spec.lineage else None)
        except Abandoned:
            candidates.detach_all()
            return
        self._state = Training(
            self.spec,
            base,
            data,
            candidates,
            checkpoints,
            self._process_group,
            self._settings.checkpoint_seconds,
            lease=self.lease,
            row_losses=RowLosses(
                self._process_group,
                self.job_lease,
                self.spec.training.row_losses,
                self._settings.max_validation_tokens,
                data.training_rows,
                data.validation_rows,
                candidates.best.trainee.rows_per_example,
            ),
        )
        self._report_measures()
        self._keep_computed_share(self._state)
        if candidates.step == 0 and is_wanted(self.spec, base.device.type):
            self._preflight(self._state, abandon)
        if isinstance(self._state, Training):  # `abandon` may have let the job go
            self._state.evaluator.progress("training")

    def _keep_computed_share(self, training: Training) -> None:
        """Keep how much of the file's tokens is computed, so that estimates for the same file know it."""
        share = computed_share(training.trainee, self._process_group.measures.step_tokens)
        of = (
            training.data.training_file.id,
            token_counts.tokenizer_of(training.base.entry),
            token_counts.rendering_of(self.spec.objective.type),
        )
        self.job_lease.write(lambda session: token_counts.keep_share(session, *of, share))

    def _preflight(self, training: Training, abandon: Callable[[], bool]) -> None:
        """Try out what the job will take, and report it. A step that does not fit raises its error here."""
        self.job_lease.enter("pre-flight")
        to_try = (self.spec, training.data, training.candidates, self._folder, abandon)
        try:
            found = run_preflight(self._process_group, *to_try)
        except Abandoned:
            return
        data = found.model_dump(mode="json")
        self.job_lease.event(told(found), once_as="preflight", data={"code": "preflight", **data})
        self.job_lease.commit(lambda session: note(session, self.lease.job_id, preflight=data))

    def _report_measures(self) -> None:
        """Report with which measures the job fits the device: once, and again if a resume finds others."""
        planned = self._process_group.planned
        if planned is not None:
            once_as = f"measures {asdict(planned.measures)}"
            self.job_lease.event(str(planned), once_as=once_as, data=planned.data)

    def after_step(self, trainee: Trainee, result: StepResult | Exception, seconds: float) -> None:
        """Take in a trainee's step of a round that took `seconds`. `settle` does what is due after it."""
        self._training.candidates.take(trainee, result, seconds)

    def after_share(self, trainee: Trainee, seconds: float) -> None:
        """Take in a round that took `seconds` and computed at most a share of the trainee's step."""
        self._training.candidates.note_share(trainee, seconds)

    @property
    def due_evaluators(self) -> list[Evaluator]:
        """The evaluators whose validation is due. What nobody has made, `settle` makes."""
        return self._training.candidates.due_evaluators

    def settle(self, abandon: Callable[[], bool]) -> None:
        """Evaluate if an evaluation is due, and send a checkpoint if one is due.

        `abandon` ends an evaluation early. A suspect that has passed its trial sends a checkpoint before it
        does anything else, because its neighbours wait for the checkpoint.
        """
        training = self._training
        if self.alone and training.has_passed_its_trial and not self._shipping.under_way:
            training.save()
        training.candidates.settle(abandon)
        if self._state is not training:  # `abandon` has let the job go
            return
        training.save_if_due()
        training.choose_what_to_publish()
        training.measure_ranks(abandon)
        training.measure_rows(abandon)

    def publish(self) -> None:
        """Write the adapter to the disk, let go of the device, and have the result completed and published.

        The tokenizer, the model card and the hashes are written beside the training of other jobs.
        """
        training = self._training
        training.evaluator.progress("publishing")
        folder = self._folder / "adapter"
        if decided := training.candidates.win():
            self._row.spec = decided.model_dump(mode="json")
        summary, trained_tokens = training.summary(), training.candidates.trained_tokens
        measured = training.measured
        dataset = describe_dataset(training.data.training_file, training.data.validation_file)
        training.write_adapter(folder)
        base = DescribedBase.of(training.base)
        complete = partial(complete_adapter_folder, folder, base, self._row, summary, dataset)
        to = (self._row, self.job_lease, self._store, self._settings)
        result = (summary, trained_tokens, training.stored, measured)
        ship = partial(publish, folder, *to, *result)
        self._stop_computing(Stage.BEING_PUBLISHED)
        self.close_rows()
        self._shipping.send(partial(self._complete_and_ship, folder, complete, ship))

    def _complete_and_ship(
        self, folder: Path, complete: Callable[[], None], ship: Callable[[], None]
    ) -> None:
        complete()
        self._bytes_to_save = sum(file.stat().st_size for file in folder.iterdir())
        ship()

    def has_ended(self) -> bool:
        """Return whether the job has been published or paused.

        Raises the error of the publication, the pause or a checkpoint if one of them failed.
        """
        return self._shipping.arrived() and (self._is_being_published or self.pausing)

    def pause(self) -> None:
        """Send a checkpoint, and then the pause. If the client has resumed the job by then, it trains on."""
        self.pausing = True
        self._save()
        self._shipping.send(self._finish_pause)

    def give_back(self, reason: str) -> None:
        """Send a checkpoint, and then the release, so that another worker can go on with the job.

        A job that is being published is not given back: its publication goes on.
        """
        if not self._is_being_published:
            self._save()
            self._shipping.send(lambda: self._release(reason))

    def wait_for_shipping(self) -> None:
        """Wait until nothing is under way. Raises the error of a load that failed."""
        self._shipping.wait()

    def fail(self, error: JobError) -> None:
        """End the job with an error. Raises LeaseLost."""
        self.job_lease.end(lambda session: lifecycle.fail(session, self.lease, error))

    def requeue(self, reason: str) -> None:
        """Give the job back after a fault that was not its own. Raises LeaseLost."""
        self._release(f"{reason}. This is not the job's fault and costs it no attempt")

    def out_of_memory(self) -> JobError:
        """Return the error for the client: which row is the longest, and what would need less memory."""
        trains_a_model = METHODS[self.spec.adapter.type].result == "model"
        need_less = "train LoRA" if trains_a_model else "lower adapter.r"
        if not isinstance(self._state, Training):
            return JobError(
                "out_of_memory",
                "The base model with what is trained does not fit into the device's memory: "
                f"{need_less}, or choose a smaller model.",
                "model",
            )
        longest = self._state.longest_row
        return JobError(
            "out_of_memory",
            f"The device's memory does not suffice. The longest row, line {longest.line}, has "
            f"{len(longest.tokens_L)} tokens: lower training.max_length, or {need_less}.",
            "training.max_length",
        )

    def close(self) -> None:
        """Leave this trainer. `close_rows` is left to do, since a round that goes on may read the rows.

        The job's folder is removed once no load under way reads it any more.
        """
        self._stop_computing(Stage.LEFT)
        self.job_lease.close()
        self._shipping.abandon(then=self._leaving.close)

    def close_rows(self) -> None:
        """Let the rows leave the disk. No round that is under way may have the job in it.

        What has held the rows may live until cycles of objects are collected, for example in an error's
        traceback.
        """
        self._rows.close()

    @property
    def _is_being_published(self) -> bool:
        """Whether the stage is BEING_PUBLISHED: a cheaper check than `stage`, for each micro-batch."""
        return isinstance(self._state, Idle) and self._state.stage is Stage.BEING_PUBLISHED

    @property
    def _training(self) -> Training:
        assert isinstance(self._state, Training)
        return self._state

    @cached_property
    def _folder(self) -> Path:
        """The folder for files that wait to be shipped.

        It is made when an action of this job first needs it. If the disk fails then, only this job is lost.
        """
        return self._leaving.enter_context(scratch_folder("job"))

    def _fetch_parent(self) -> Published:
        """Return the tensors of the adapter from which the job continues."""
        parent = self.spec.lineage[0]
        published = fetch_parent(parent, self.job_lease, self._store, self._folder)
        self.job_lease.event(f"The job begins with the weights of {parent.model}", once_as="begins with")
        return published

    def _save(self) -> None:
        if isinstance(self._state, Training):
            self._state.save()

    def _end_trial(self, step: int) -> None:
        """Let other jobs compute beside this one if its checkpoint of `step` is beyond the step to pass."""
        if self.lease.passes(step):
            self.alone = False

    def _finish_pause(self) -> None:
        if not self.job_lease.commit(lambda session: lifecycle.finish_pause(session, self.lease)):
            self.job_lease.pause_requested = False
            self.pausing = False

    def _release(self, reason: str) -> None:
        self.job_lease.end(lambda session: lifecycle.release(session, self.lease, reason))

    def _stop_computing(self, stage: Stage) -> None:
        """Let go of the rows, of the base model, and of the trainees with all that they hold on the device.

        Shipping may go on after the next base model has been loaded, so nothing may keep the old one alive.
        """
        if isinstance(self._state, ReadingRows):
            self._state.reader.close()
        for name in names_of(self.lease.job_id, self.spec):
            self._process_group.leave(name)
        self._state = Idle(stage)
