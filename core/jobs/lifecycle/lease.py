"""The right of one trainer to work on a job, and how far the job's claim has come."""

from dataclasses import dataclass

CLAIMED, PREPARING, READING_DATA = _BEFORE_TRAINING = ("claimed", "preparing", "reading data")
LOADING = "loading the base model"


def loading_phase(read: int, of: int) -> str:
    """Return the phase of a claim whose base model has been read so far, in bytes."""
    return f"{LOADING}: {read / 1e9:.1f} of {of / 1e9:.1f} GB"


def is_before_training(phase: str) -> bool:
    """Return whether a claim in this phase has neither restored a checkpoint nor made a step."""
    return phase in _BEFORE_TRAINING or phase.startswith(LOADING)


@dataclass(frozen=True)
class Progress:
    """How far a claim has come. Rates are logical tokens per second, and `epoch` may be a fraction.

    `best_valid_loss` is the job's lowest loss so far on all validation rows, measured at `best_step`.
    """

    phase: str
    step: int = 0
    total_steps: int | None = None
    epoch: float = 0.0
    tokens_per_second: float | None = None
    trained_tokens: int = 0
    seconds_left: float | None = None
    best_valid_loss: float | None = None
    best_step: int | None = None


NO_PROGRESS = Progress(CLAIMED)


@dataclass(frozen=True)
class Lease:
    """The right to work on a job, as long as the job's current claim is open and has this fence and nonce.

    The fence orders the claims of a job. It does not tell them apart: if a failover of the database loses a
    claim, the next claim gets the same fence. The nonce is random, so no two leases have the same.
    """

    job_id: str
    fence: int
    nonce: str
    seconds: float
    last_progress: Progress = NO_PROGRESS
    """How far the job's previous claim had come"""
    step_to_pass: int | None = None
    """The step that a suspect must pass while it trains alone (see `core/jobs/suspects.py`)"""

    @property
    def attempt(self) -> str:
        """The part of an object key that no other lease has."""
        return f"{self.fence}-{self.nonce}"

    @property
    def alone(self) -> bool:
        """Whether no other job may compute beside this one.

        This lasts until a checkpoint of a later step than the one at which the job was lost.
        """
        return self.step_to_pass is not None

    def passes(self, step: int) -> bool:
        """Return whether a claim that has come to this step is beyond the step that a suspect must pass."""
        return step > (self.step_to_pass or 0)
