"""One job that a trainer has claimed: what the loop has it do, from its rows to its result."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from core.jobs.spec import JobSpec
from core.objectives.reinforcement import Reinforcement
from core.settings import Settings
from core.storage.object_store import ObjectStore, adapters_prefix, checkpoints_prefix
from core.tables import Job
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.passes import Abandoned
from worker.process.scratch import scratch_folder
from worker.rows.row import Row
from worker.trainer.candidates.candidates import Candidates, names_of
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.image_feed import ImageFeed
from worker.trainer.reading.reader import DataReader, JobData, Readers, close_when_read
from worker.trainer.reinforce.job_grading import JobGrading
from worker.trainer.report.job_lease import JobLease
from worker.trainer.report.row_losses import RowLosses
from worker.trainer.report.weights_told import events_on_weights
from worker.trainer.save.checkpoint_schedule import CheckpointSchedule
from worker.trainer.save.job_checkpoints import JobCheckpoints
from worker.trainer.save.parent import fetch_parent
from worker.trainer.save.publish import Result, complete_adapter_folder, publish
from worker.trainer.save.shipping import Shipping, recorded
from worker.trainer.save.validation_runs import ValidationRuns
from worker.trainer.train.first_reports import report_what_it_takes
from worker.trainer.train.result import result_of
from worker.trainer.train.stages import Idle, ReadingRows, Stage, Training

SEE_SECONDS = 1.0  # for images, between two rounds of the other jobs
WAITS_FOR_MEMORY = "The job waits until it fits into the device's memory beside the jobs that train there now"


class TrainingJob:
    """A claimed job: its lease, its stage, and what it holds in that stage.

    Its methods raise JobError if the job cannot go on, and LeaseLost if the lease is gone. Checkpoints and
    the result are written to the disk here, and shipped to the store beside the training.
    """

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore,
        process_group: ProcessGroup,
        job_lease: JobLease,
        row: Job,
        shipping: Shipping,
        grading: JobGrading,
    ) -> None:
        self.job_lease = job_lease
        self.lease, self.trace = job_lease.lease, job_lease.trace
        self.shipping = shipping
        self.alone = self.lease.alone
        """Whether the job is a suspect, beside which no other job may compute.

        This lasts until a checkpoint of a later step than the one at which the job was lost.
        """
        self.pausing = False
        """Whether the job holds still until its checkpoint is shipped and its pause is written."""
        self.sees_images = False
        """Whether the base model's tower had images of the job to see when it was last to be attached."""
        self.waits_for_memory = False
        """Whether the job's rows are read, but it does not fit beside the jobs that train now."""
        self._state: Idle | ReadingRows | Training = Idle(Stage.CLAIMED)
        self._bytes_to_save = 0
        self._settings = settings
        self._store = store
        self._process_group = process_group
        self._row = row
        self._grading = grading
        self._leaving = ExitStack()
        self._rows = ExitStack()

    @cached_property
    def spec(self) -> JobSpec:
        return JobSpec.model_validate(self._row.spec)

    @property
    def stage(self) -> Stage:
        return self._state.stage

    @property
    def candidates(self) -> Candidates:
        """The adapters that the job trains, once they are attached."""
        assert isinstance(self._state, Training)
        return self._state.candidates

    @property
    def state_bytes(self) -> int:
        """Bytes of the cohort's budget that the job takes: none while it is idle, or for what was dropped."""
        match self._state:
            case Idle():
                return 0
            case ReadingRows():
                return self._process_group.state_bytes(self.spec, range(len(self.spec.candidates)))
            case Training(candidates=candidates):
                return self._process_group.state_bytes(self.spec, candidates.numbers)

    @property
    def to_save(self) -> tuple[int, list[str]]:
        """How many bytes the job has to save at most, and under which prefixes of the store."""
        prefixes = [prefix(self.lease.job_id) for prefix in (checkpoints_prefix, adapters_prefix)]
        return self._bytes_to_save, prefixes

    @property
    def longest_row(self) -> Row | None:
        """The longest row, once the adapters are attached."""
        return self._state.data.training_rows.longest if isinstance(self._state, Training) else None

    # Before its first step

    def start_reading(self, base: ResidentBase, readers: Readers, then: Callable[[], object]) -> None:
        """Have the rows fetched and rendered by `readers`, while other jobs train. Call `then` at the end."""
        self.job_lease.event("The base model is loaded", data={"code": "model_loaded"})
        for event in events_on_weights(base, self.spec):
            self.job_lease.report(event)
        max_length = self.spec.training.max_length or base.entry.max_length
        reader = DataReader(self._row, base, max_length, self.job_lease, readers)
        self._rows.callback(close_when_read, reader.data)
        self._state = ReadingRows(base, reader)
        self._bytes_to_save = self.state_bytes
        reader.data.add_done_callback(lambda _: then())

    def attach(self, abandon: Callable[[], bool]) -> None:
        """Attach the adapters to the base model, and continue from a checkpoint if there is one.

        The job still waits to be attached if it does not fit beside the attached jobs, or if `abandon` ends
        the attachment. Raises the error of reading the rows, if reading failed.
        """
        assert isinstance(self._state, ReadingRows)
        base, data = self._state.base, self._state.reader.data.result()
        images = data.next_images
        self.sees_images = images is not None
        if images is not None:
            self._see(images, base)
            return
        waited = self.waits_for_memory
        self.waits_for_memory = not self._process_group.admits(self.spec, data.training_rows)
        if self.waits_for_memory and not waited:
            self.job_lease.event(WAITS_FOR_MEMORY, once_as="waits for memory")
            self.job_lease.enter("waiting for memory")
        if not self.waits_for_memory:
            with self.trace.part("job.attach") as span:
                self._attach(base, data, abandon)
                if isinstance(self._state, Training):
                    span.set({"tunery.step": self.candidates.step})

    def _see(self, images: ImageFeed, base: ResidentBase) -> None:
        """Have the base model's tower see images for as long as a round may take."""
        assert base.tower is not None, "only with a tower, rows have images"
        if not images.seen:
            self.job_lease.enter("seeing images")
        images.see(base.tower, SEE_SECONDS)

    def _attach(self, base: ResidentBase, data: JobData, abandon: Callable[[], bool]) -> None:
        to = (self.job_lease, self._store, self._folder)
        checkpoints = JobCheckpoints(*to, data.fingerprint, self.shipping, arrived=self._end_trial)
        runs = (
            ValidationRuns(*to, self.spec, self.shipping, self._settings)
            if isinstance(self.spec.objective, Reinforcement)
            else None
        )
        candidates = Candidates(
            self._process_group, self.spec, data, self.job_lease, abandon, self._grading, runs
        )
        try:
            checkpoints.restore(candidates)
            candidates.begin(fetch_parent(self.spec.lineage[0], *to) if candidates.needs_parent else {})
        except Abandoned:
            candidates.detach_all()
            return
        schedule = CheckpointSchedule(self._settings.checkpoint_seconds, candidates.position)
        most = (self.spec.training.row_losses, self._settings.max_validation_tokens)
        parts = {"training": data.training_rows, "validation": data.validation_rows}
        row_losses = RowLosses(self._process_group, self.job_lease, *most, parts)
        self._state = training = Training(base, data, candidates, checkpoints, schedule, row_losses)
        report_what_it_takes(self._process_group, self.job_lease, self.spec, training, self._folder, abandon)
        if self._state is training:  # `abandon` may have let the job go
            candidates.best.evaluator.progress("training")

    # Step by step

    def settle(self, abandon: Callable[[], bool]) -> None:
        """Do what is due after the last step, in this order. What `abandon` ends early stays due."""
        training = self._state
        assert isinstance(training, Training)
        candidates = training.candidates
        if self.alone and self.lease.passes(candidates.step) and not self.shipping.under_way:
            self._save()  # first, because the neighbours of a suspect wait for this checkpoint
        candidates.settle(abandon)  # validations, samples, and the comparison of candidates
        if self._state is not training:  # `abandon` has let the job go
            return
        self._save_if_due(training)
        self._choose_what_to_publish(training)
        if training.to_publish is not None:
            candidates.best.evaluator.measure_ranks(abandon)
        training.row_losses.measure(candidates.best.evaluator, training.to_publish is not None, abandon)

    def _save_if_due(self, training: Training) -> None:
        """Send a checkpoint if one is due, and have old ones removed.

        At most one checkpoint is under way. If the next one is due meanwhile, it waits. At a milestone, the
        job waits too.
        """
        candidates, position = training.candidates, training.candidates.position
        if not (candidates.complete and training.schedule.is_due(position)):
            return
        if not self.shipping.under_way:
            self._save()
            training.checkpoints.drop_old()
        elif training.schedule.is_owed(position):
            candidates.best.evaluator.progress("saving a checkpoint")

    def _save(self) -> None:
        """Send a checkpoint of the present state, unless the last one has all of it."""
        if not isinstance(self._state, Training):
            return
        training, position = self._state, self._state.candidates.position
        if training.schedule.has_news(position):
            training.checkpoints.send(training.candidates, position.ends_training)
            training.schedule.note_sent(position)

    def _choose_what_to_publish(self, training: Training) -> None:
        """Choose the state to publish, once the last step has been made, evaluated and saved.

        It is the last state, or the best state if the client asked for it. If the best state is an earlier
        one, it is read from its checkpoint, once no checkpoint is under way.
        """
        if not (training.candidates.finished and training.is_settled):
            return
        trainee, evaluator = training.candidates.best.trainee, training.candidates.best.evaluator
        best_step = evaluator.best.step
        if self.spec.publishes_best and best_step is not None and best_step != trainee.step:
            if self.shipping.under_way:
                return
            training.to_publish = training.checkpoints.take_up_best(trainee, best_step)
            self._process_group.share_state(trainee)
        training.to_publish = training.to_publish or evaluator.latest

    # How it ends

    def publish(self) -> None:
        """Write the adapter to the disk, let go of the device, and have the result completed and published.

        The tokenizer, the model card and the hashes are written beside the training of other jobs.
        """
        training = self._state
        assert isinstance(training, Training)
        training.candidates.best.evaluator.progress("publishing")
        self.trace.end_steps()
        if decided := training.candidates.win():
            self._row.spec = decided.model_dump(mode="json")
        result = result_of(training, self.spec, self._process_group.memory_plan, self._folder / "adapter")
        training.checkpoints.write_adapter(training.candidates.adapter, result.folder)
        self._stop_computing(Stage.BEING_PUBLISHED)
        self.close_rows()
        self.shipping.send(lambda: self._complete_and_publish(result))

    def _complete_and_publish(self, result: Result) -> None:
        with self.trace.part("job.publish"), recorded("publication"):
            complete_adapter_folder(result, self._row)
            self._bytes_to_save = sum(file.stat().st_size for file in result.folder.iterdir())
            publish(result, self._row, self.job_lease, self._store, self._settings)

    def has_ended(self) -> bool:
        """Return whether the job has been published or paused.

        Raises the error of the publication, the pause or a checkpoint if one of them failed.
        """
        return self.shipping.arrived() and (self._is_being_published or self.pausing)

    def pause(self) -> None:
        """Send a checkpoint, and then the pause. If the client has resumed the job by then, it trains on."""
        self.pausing = True
        self._save()

        def finish() -> None:
            self.pausing = self.job_lease.finish_pause()

        self.shipping.send(finish)

    def give_back(self, reason: str) -> None:
        """Send a checkpoint, and then the release, so that another worker can go on with the job.

        A job that is being published is not given back: its publication goes on.
        """
        if not self._is_being_published:
            self._save()
            self.shipping.send(lambda: self.job_lease.release(reason))

    def close(self) -> None:
        """Leave this trainer. `close_rows` is left to do, since a round that goes on may read the rows.

        The job's folder is removed once no load under way reads it any more.
        """
        self._stop_computing(Stage.LEFT)
        self.job_lease.close()
        self.shipping.abandon(then=self._leaving.close)

    def close_rows(self) -> None:
        """Let the rows leave the disk, whoever still refers to them. No round under way may have the job."""
        self._rows.close()

    def _stop_computing(self, stage: Stage) -> None:
        """Let go of the rows, of the trainees, and of the base model, which the next one replaces."""
        if isinstance(self._state, ReadingRows):
            self._state.reader.close()
        if isinstance(self._state, Training) and self.spec.sampled_tokens:
            self._state.candidates.close()
            self._grading.leave()
        for name in names_of(self.lease.job_id, self.spec):
            self._process_group.leave(name)
        self._state = Idle(stage)

    @property
    def _is_being_published(self) -> bool:
        """Whether the stage is BEING_PUBLISHED: a cheaper check than `stage`, for each micro-batch."""
        return isinstance(self._state, Idle) and self._state.stage is Stage.BEING_PUBLISHED

    @cached_property
    def _folder(self) -> Path:
        """The folder for files to ship, made when it is first needed: a disk that fails ends no other job."""
        return self._leaving.enter_context(scratch_folder("job"))

    def _end_trial(self, step: int) -> None:
        """Let other jobs compute beside this one if its checkpoint of `step` is beyond the step to pass."""
        if self.lease.passes(step):
            self.alone = False
