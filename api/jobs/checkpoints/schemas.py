"""A checkpoint of a job as a client reads it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from api.schemas import Identified, UnixSeconds, from_row
from core.tables import Checkpoint


class CheckpointObject(Identified):
    """The state of a job's model after some step.

    `best` is true for the checkpoint with the lowest `full_valid_loss` that the job has had so far, with the
    highest `full_valid_mean_reward`, or with the lowest `full_valid_mean_reverse_kl`. If an audit may end the
    job, it is a state in which the audit has not fallen. Without a validation file, it is false for every
    checkpoint.
    """

    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: UnixSeconds
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: Annotated[str, Field(description="The name of the checkpoint as a model")]
    step_number: Annotated[int, Field(description="The optimizer step after which it was saved")]
    metrics: Annotated[dict[str, Any], Field(description="The metrics of the step, by name")]
    best: bool

    @classmethod
    def of(cls, checkpoint: Checkpoint, model_name: str) -> "CheckpointObject":
        return from_row(
            cls,
            checkpoint,
            fine_tuning_job_id=checkpoint.job_id,
            fine_tuned_model_checkpoint=f"{model_name}:ckpt-step-{checkpoint.step}",
            step_number=checkpoint.step,
            metrics={"step": checkpoint.step, **checkpoint.metrics},
        )
