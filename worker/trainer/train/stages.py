"""The stages of a job in a trainer, and the state that a job has before and after it trains.

    claimed ─► reading rows ─► rows read ─► settling ◄─► ready to step
                                                │
                                                ▼
                                             trained ─► being published ─► left

A job can leave in every stage. A pause is not a stage: a job whose client asked for a pause keeps its stage,
because the client may resume the job before it has been paused.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

from worker.engine.base.base_model import ResidentBase
from worker.trainer.reading.reader import DataReader


class Stage(Enum):
    CLAIMED = auto()
    """The base model may have to be loaded first."""
    READING_ROWS = auto()
    """The rows are fetched and rendered, while other jobs train."""
    ROWS_READ = auto()
    """The job waits to be attached to the base model. If its rows could not be read, attaching it fails."""
    SETTLING = auto()
    """The last step must still be evaluated or saved, or the state to publish must be chosen."""
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
    state_bytes: ClassVar[int] = 0


@dataclass(frozen=True)
class ReadingRows:
    """A job whose rows are being read, or have been read."""

    base: ResidentBase
    reader: DataReader
    state_bytes: int
    """Bytes of the cohort's budget that all of the job's adapters will take."""

    @property
    def stage(self) -> Stage:
        return Stage.ROWS_READ if self.reader.data.done() else Stage.READING_ROWS
