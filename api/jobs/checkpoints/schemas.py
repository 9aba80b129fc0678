"""A checkpoint of a job as a client reads it."""

from typing import Any, Literal

from api.schemas import Identified, unix_seconds
from core.tables import Checkpoint


class CheckpointObject(Identified):
    """The state of a job's model after some step.

    `best` is true for the checkpoint with the lowest `full_valid_loss` that the job has had so far. Without a
    validation file, it is false for all.
    """

    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, Any]
    best: bool

    @classmethod
    def of(cls, checkpoint: Checkpoint, model_name: str) -> "CheckpointObject":
        return cls(
            id=checkpoint.id,
            created_at=unix_seconds(checkpoint.created_at),
            fine_tuning_job_id=checkpoint.job_id,
            fine_tuned_model_checkpoint=f"{model_name}:ckpt-step-{checkpoint.step}",
            step_number=checkpoint.step,
            metrics={"step": checkpoint.step, **checkpoint.metrics},
            best=checkpoint.best,
        )
