"""A job while its adapters are attached to the base model: how it is evaluated, saved and completed."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.jobs.lifecycle import Lease
from core.jobs.spec import JobSpec
from core.methods.low_rank import LoraAdapter
from worker.engine.adapters.dynamic_rank import measured_ranks
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row
from worker.trainer.candidates.candidates import Candidates
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.reader import JobData
from worker.trainer.report.evaluation import Evaluator
from worker.trainer.report.row_losses import RowLosses
from worker.trainer.save.job_checkpoints import JobCheckpoints
from worker.trainer.train.checkpoint_schedule import CheckpointSchedule, Position
from worker.trainer.train.stages import Stage
from worker.trainer.train.worker_status import device_name


class Training:
    """An attached job, with all that it needs to make steps and to save them.

    At most one checkpoint is under way. If the next one is due meanwhile, it waits. At a milestone, the job
    waits too.
    """

    def __init__(
        self,
        spec: JobSpec,
        base: ResidentBase,
        data: JobData,
        candidates: Candidates,
        checkpoints: JobCheckpoints,
        process_group: ProcessGroup,
        checkpoint_seconds: float,
        lease: Lease,
        row_losses: RowLosses,
    ) -> None:
        self.base = base
        self.data = data
        self.candidates = candidates
        self._spec = spec
        self._checkpoints = checkpoints
        self._process_group = process_group
        self._lease = lease
        self._row_losses = row_losses
        self._schedule = CheckpointSchedule(checkpoint_seconds, self._position)
        self._to_publish: dict[str, Any] | None = None  # the metrics of the state to publish, once chosen

    @property
    def stage(self) -> Stage:
        if self._to_publish is not None and not self._ranks_to_measure and not self._row_losses.after_is_due:
            return Stage.TRAINED
        if not self.candidates.finished and self._is_settled and not self._losses_before_are_due:
            return Stage.READY_TO_STEP
        return Stage.SETTLING

    @property
    def state_bytes(self) -> int:
        """Bytes of the cohort's budget that the job takes. Candidates that were dropped make room."""
        return self._process_group.state_bytes(self._spec, self.candidates.numbers)

    @property
    def trainee(self) -> Trainee:
        """The job's only trainee, or the best candidate's."""
        return self.candidates.best.trainee

    @property
    def evaluator(self) -> Evaluator:
        """The evaluator of `trainee`."""
        return self.candidates.best.evaluator

    @property
    def longest_row(self) -> Row:
        return self.data.training_rows.longest

    @property
    def has_passed_its_trial(self) -> bool:
        """Whether a suspect has passed the step at which its last trainer may have died."""
        return self._lease.passes(self.trainee.step)

    def save_if_due(self) -> None:
        """Send a checkpoint if one is due and none is under way, and have old ones removed."""
        position = self._position
        if not (self.candidates.complete and self._schedule.is_due(position)):
            return
        if not self._checkpoints.under_way:
            self.save()
            self._checkpoints.drop_old()
        elif self._schedule.is_owed(position):
            self.evaluator.progress("saving a checkpoint")

    def save(self) -> None:
        """Send a checkpoint of the present state, unless the last one has all of it."""
        position = self._position
        if self._schedule.has_news(position):
            self._checkpoints.send(self.candidates, position.ends_training)
            self._schedule.note_sent(position)

    def choose_what_to_publish(self) -> None:
        """Choose the state to publish, once the last step has been made, evaluated and saved.

        It is the last state, or the best state if the client asked for it. If the best state is an earlier
        one, it is read from its checkpoint, once no checkpoint is under way.
        """
        if not (self.candidates.finished and self._is_settled):
            return
        best_step = self.evaluator.best.step
        if self._spec.publishes_best and best_step is not None and best_step != self.trainee.step:
            if self._checkpoints.under_way:
                return
            self._checkpoints.last_adapter = None
            self._to_publish = self._checkpoints.take_up_best(self.trainee, best_step)
            self._process_group.share_state(self.trainee)
        self._to_publish = self._to_publish or self.evaluator.latest

    def measure_ranks(self, abandon: Callable[[], bool]) -> None:
        """Evaluate the state to publish at each rank to which it can be cut. `abandon` ends this early."""
        if self._to_publish is not None:
            self.evaluator.measure_ranks(self._ranks_to_measure, abandon)

    def measure_rows(self, abandon: Callable[[], bool]) -> None:
        """Measure single rows, if that is due before the first step or of the state to publish.

        `abandon` ends this early.
        """
        if self._losses_before_are_due:
            self.evaluator.progress("measuring rows")
            self._row_losses.measure_before(self.trainee, abandon)
            self.evaluator.progress("training")
        elif self._to_publish is not None and self._row_losses.after_is_due:
            self.evaluator.progress("measuring rows")
            self._row_losses.measure_after(self.trainee, abandon)

    @property
    def stored(self) -> Mapping[str, str]:
        """The files of the last checkpoint in the store, once all that was sent has arrived."""
        return self._checkpoints.stored

    def write_adapter(self, folder: Path) -> None:
        """Write the adapter to publish into a new folder, or take the files of the last checkpoint."""
        if self._checkpoints.last_adapter is not None:
            self._checkpoints.last_adapter.rename(folder)
        else:
            self.trainee.adapter.save(folder)

    @property
    def measured(self) -> dict[str, Any]:
        """How long the training took, and where. Several candidates leave one by one, and have no rate."""
        if self._spec.search is not None:
            return {}
        evaluator = self.evaluator
        return {
            "trained_seconds": round(evaluator.trained_seconds, 3),
            "trained_tokens": evaluator.trained_tokens,
            "device": device_name(self.base.device),
            "quantization": self.base.entry.precision,
        }

    def summary(self) -> dict[str, Any]:
        """Return how the adapter was trained, for its manifest and its model card."""
        kept = ("train_loss", "full_valid_loss", "full_valid_mean_token_accuracy")
        published = self._to_publish
        assert published is not None
        return {
            "base_revision": self.base.entry.revision,
            "dtype": str(self.base.dtype).removeprefix("torch."),
            "quantization": self.base.entry.quantization,
            "compute": self.base.compute,
            "decoder": self.base.decoder.path,
            **asdict(self._process_group.measures),
            "steps": self.trainee.step,
            "published_step": published["step"],
            "stopped_early": self.trainee.last_step < self.trainee.total_steps,
            "trained_tokens": self.evaluator.trained_tokens,
            **{key: published[key] for key in kept},
            "target_modules": self.trainee.adapter.target_modules,
            **({"ranks": self.evaluator.ranks} if self.evaluator.ranks else {}),
        }

    @property
    def _position(self) -> Position:
        return Position(
            progress=self.candidates.progress_made,
            ends_epoch=self.trainee.at_epoch_end,
            ends_training=self.trainee.finished,
            may_be_published=self._spec.publishes_best and self.evaluator.at_best,
        )

    @property
    def _is_settled(self) -> bool:
        """Whether the last step has been evaluated, and saved if it is a milestone."""
        return self.candidates.complete and not self._schedule.is_owed(self._position)

    @property
    def _losses_before_are_due(self) -> bool:
        return self._row_losses.before_is_due(self.trainee)

    @property
    def _ranks_to_measure(self) -> list[int]:
        """The ranks that are left to measure; none for an adapter that cannot be cut to any rank."""
        adapter = self._spec.adapter
        if isinstance(adapter, LoraAdapter) and adapter.dynamic_rank:
            return measured_ranks(adapter.r)[len(self.evaluator.ranks) :]
        return []
