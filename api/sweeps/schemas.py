"""A sweep as a client sends and reads it: a job with one candidate for each combination of some values."""

from typing import Annotated, Any, Literal

from pydantic import Field

from api.jobs.candidates.schemas import CandidateObject, CandidatesObject, CostObject
from api.jobs.creation.schemas import CreateJob
from api.jobs.queries import JobRow
from api.jobs.schemas import JobError, model_of
from api.schemas import Identified, Seconds, UnixSeconds, from_row
from core.jobs.search import MAX_CANDIDATES
from core.methods.method import Alpha, Rank, Targets
from core.options import Options
from core.tables import Candidate

JOB_PREFIX, SWEEP_PREFIX = "ftjob-", "ftsweep-"

LearningRate = Annotated[float, Field(gt=0, le=1)]


class Parameters(Options):
    """The values to try, by their path in the request.

    There may be at most 16 combinations. All other options have the values of the request.
    """

    learning_rate: Annotated[
        list[LearningRate] | None,
        Field(alias="training.learning_rate", min_length=1, max_length=MAX_CANDIDATES),
    ] = None
    r: Annotated[list[Rank] | None, Field(alias="adapter.r", min_length=1, max_length=MAX_CANDIDATES)] = None
    lora_alpha: Annotated[
        list[Alpha] | None,
        Field(
            alias="adapter.lora_alpha",
            min_length=1,
            max_length=MAX_CANDIDATES,
            description="If ranks are tried and the request names no alpha, alpha is twice the rank",
        ),
    ] = None
    target_modules: Annotated[
        list[Targets] | None, Field(alias="adapter.target_modules", min_length=1, max_length=MAX_CANDIDATES)
    ] = None

    @property
    def grid(self) -> dict[str, list[Any]]:
        """Return the values to try, by their paths in the request."""
        return self.model_dump(by_alias=True, exclude_none=True)


class CreateSweep(CreateJob):
    """The parameters of a job, which must have a validation file, and the values to try."""

    parameters: Parameters


class SweepObject(Identified):
    """A sweep and the state of its job.

    The ids of a sweep and its job differ only in their beginning: `ftsweep-X` is the sweep of `ftjob-X`.
    """

    object: Literal["fine_tuning.sweep"] = "fine_tuning.sweep"
    created_at: UnixSeconds
    finished_at: Annotated[Seconds | None, Field(description="Unix seconds. Null until the job has ended")]
    status: str
    error: JobError | None
    model: str
    job_id: str
    parameters: Annotated[
        dict[str, list[Any]],
        Field(description="The values that the sweep tries, by their path in the request"),
    ]
    candidates: Annotated[list[CandidateObject], Field(description="All candidates, the best first")]
    winner: Annotated[
        int | None, Field(description="The number of the candidate that won. Null until there is a winner")
    ]
    cost: Annotated[CostObject | None, Field(description="Null until there is a winner")]
    fine_tuned_model: str | None
    adapter_id: str | None

    @classmethod
    def of(cls, row: JobRow, candidates: list[Candidate]) -> "SweepObject":
        job, shown = row.job, CandidatesObject.of(row.job, candidates)
        return from_row(
            cls,
            job,
            id=sweep_id_of(job.id),
            model=model_of(job),
            job_id=job.id,
            parameters=job.spec["search"]["parameters"],
            candidates=shown.data,
            winner=shown.winner,
            cost=shown.cost,
            adapter_id=row.adapter_id,
        )


def sweep_id_of(job_id: str) -> str:
    return SWEEP_PREFIX + job_id.removeprefix(JOB_PREFIX)


def job_id_of(sweep_id: str) -> str:
    return JOB_PREFIX + sweep_id.removeprefix(SWEEP_PREFIX)
