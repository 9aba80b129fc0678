"""The errors that end a job, as its client reads them."""

from core.errors import JobError
from core.jobs.spec import JobSpec
from core.methods.registry import METHODS
from worker.rows.row import Row


def out_of_memory(spec: JobSpec, longest: Row | None) -> JobError:
    """Return the error of a job that does not fit into the device's memory, with what would need less.

    `longest` is the job's longest row, or None if not even its adapters could be attached.
    """
    trains_a_model = METHODS[spec.adapter.type].result == "model"
    need_less = "train LoRA" if trains_a_model else "lower adapter.r"
    if longest is None:
        return JobError(
            "out_of_memory",
            "The base model with what is trained does not fit into the device's memory: "
            f"{need_less}, or choose a smaller model.",
            "model",
        )
    return JobError(
        "out_of_memory",
        f"The device's memory does not suffice. The longest row, line {longest.line}, has "
        f"{len(longest.tokens_L)} tokens: lower training.max_length, or {need_less}.",
        "training.max_length",
    )


def unexpected() -> JobError:
    """Return the error of a job that has met a mistake of Tunery."""
    message = "The trainer met an unexpected error; the worker's log has it under this job's id."
    return JobError("internal_error", message)
