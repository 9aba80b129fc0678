"""The stages of a job in a trainer, and the state that a job has in them.

    claimed ─► reading rows ─► rows read ─► settling ◄─► ready to step
                                                │
                                                ▼
                                             trained ─► being published ─► left

A job can leave in every stage. A pause is not a stage: a job whose client asked for a pause keeps its stage,
because the client may resume the job before it has been paused.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from worker.engine.base.base_model import ResidentBase
from worker.trainer.candidates.candidates import Candidates
from worker.trainer.reading.reader import DataReader, JobData
from worker.trainer.report.row_losses import RowLosses
from worker.trainer.save.checkpoint_schedule import CheckpointSchedule
from worker.trainer.save.job_checkpoints import JobCheckpoints


class Stage(Enum):
    CLAIMED = auto()
    """The base model may have to be loaded first."""
    READING_ROWS = auto()
    """The rows are fetched and rendered, while other jobs train."""
    ROWS_READ = auto()
    """The job waits to be attached to the base model. If its rows could not be read, attaching it fails."""
    SETTLING = auto()
    """The last step must still be evaluated or saved, or the state to publish must be chosen, or the next
    step waits for its rollouts."""
    READY_TO_STEP = auto()
    """The job takes part in the next round."""
    TRAINED = auto()
    """Only the publication is left to do."""
    BEING_PUBLISHED = auto()
    """The result is on its way to the store. The job holds nothing on the device."""
    LEFT = auto()
    """The job has left this trainer."""

    @property
    def is_attached(self) -> bool:
        """Whether the job has adapters on the base model, and takes part in rounds."""
        return self in (Stage.SETTLING, Stage.READY_TO_STEP, Stage.TRAINED)


@dataclass(frozen=True)
class Idle:
    """A job that holds neither rows nor anything on the device: before it trains, or afterwards."""

    stage: Stage


@dataclass(frozen=True)
class ReadingRows:
    """A job whose rows are being read, or have been read."""

    base: ResidentBase
    reader: DataReader

    @property
    def stage(self) -> Stage:
        return Stage.ROWS_READ if self.reader.data.done() else Stage.READING_ROWS


@dataclass
class Training:
    """A job whose adapters are attached to the base model."""

    base: ResidentBase
    data: JobData
    candidates: Candidates
    checkpoints: JobCheckpoints
    schedule: CheckpointSchedule
    row_losses: RowLosses
    to_publish: dict[str, Any] | None = None
    """The metrics of the state to publish, once it has been chosen"""

    @property
    def stage(self) -> Stage:
        if self.to_publish is not None and not self.is_to_be_measured:
            return Stage.TRAINED
        trainee = self.candidates.best.trainee
        ready = self.is_settled and not self.row_losses.before_is_due(trainee) and self.candidates.can_step
        if not self.candidates.finished and ready:
            return Stage.READY_TO_STEP
        return Stage.SETTLING

    @property
    def is_settled(self) -> bool:
        """Whether the last step has been evaluated, and saved if it is a milestone."""
        return self.candidates.complete and not self.schedule.is_owed(self.candidates.position)

    @property
    def is_to_be_measured(self) -> bool:
        """Whether ranks or rows are still to be measured with the state to publish."""
        return bool(self.candidates.best.evaluator.ranks_to_measure) or self.row_losses.after_is_due
