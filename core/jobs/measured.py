"""What a trainer measures of a job, beside what was expected of it."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from core.catalog import Precision
from core.tables import Job


class Preflight(BaseModel):
    """What the job's longest step, its longest evaluation and a checkpoint took before the first real step.

    Memory is counted beside what was held before: the base model and all that is trained.
    """

    step_tokens: Annotated[int, Field(description="Tokens of the longest step")]
    step_seconds: float
    step_bytes: Annotated[int, Field(description="Most memory of the step")]
    predicted_step_bytes: Annotated[int | None, Field(description="Null if the method has no model")]
    evaluation_tokens: Annotated[int, Field(description="Tokens of the longest evaluation; 0 without one")]
    evaluation_seconds: float
    evaluation_bytes: int
    predicted_evaluation_bytes: int | None
    checkpoint_bytes: Annotated[int, Field(description="Bytes of a state to go on from, on the disk")]
    checkpoint_seconds: float


class Measured(BaseModel):
    """The measurements of a job. The times add up over all attempts; the device is that of the last one."""

    preflight: Preflight | None = None
    trained_seconds: Annotated[
        float | None, Field(description="Seconds of all steps, with those of other jobs in the same rounds")
    ] = None
    trained_tokens: Annotated[int | None, Field(description="Tokens that were trained in these seconds")] = (
        None
    )
    device: Annotated[str | None, Field(description="Name of the device that trained it")] = None
    quantization: Annotated[
        Precision | None,
        Field(
            description="How the base model's frozen weights were held, as in `training.quantization`: "
            "`none` is as they were published",
        ),
    ] = None


def note(session: Session, job_id: str, **found: Any) -> None:
    """Add to what was measured of a job. A second call with the same values changes nothing."""
    job = session.get_one(Job, job_id)
    job.measured = {**(job.measured or {}), **found}


def rate_of(expected: Mapping[str, Any] | None, measured: Mapping[str, Any]) -> float | None:
    """Return the operations a second of an ended job, or None if its operations or its time are not known.

    The operations were expected for a number of tokens. If that was a guess, what was trained corrects it. A
    job that samples answers tells no rate, because it computes beside its steps.
    """
    found = Measured.model_validate(measured)
    operations = expected and expected["operations"]
    if not (expected and operations and found.trained_seconds and found.trained_tokens):
        return None
    if operations.get("sampling"):
        return None
    of_expected = found.trained_tokens / max(1, expected["tokens"]["count"])
    return float(operations["training"] * of_expected / found.trained_seconds)
