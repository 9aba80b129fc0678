"""A job as a client reads it: OpenAI's fields, and Tunery's own beside them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from api.adapters.schemas import AncestorObject
from api.jobs.method_view import Hyperparameters, MethodView, Stored, method_view
from api.jobs.queries import JobRow
from api.schemas import Deleted, Identified, Seconds, from_row, unix_seconds
from core.datasets.checks.report import DataFinding
from core.datasets.preparation.requests import Augmentation
from core.endpoints.header_values import with_hidden_headers
from core.estimates.job.report import Estimate
from core.evals.evaluation import Evaluation
from core.evals.validations import eval_of
from core.jobs.integrations import Integration
from core.jobs.lineage import lineage_of
from core.jobs.measured import Measured
from core.tables import Claim, Job

INTEGRATIONS: TypeAdapter[list[Integration]] = TypeAdapter(list[Integration])


class JobError(BaseModel):
    code: str
    message: str
    param: Annotated[
        str | None,
        Field(description="The parameter of the job that caused the error. Null if no parameter caused it"),
    ]


class Adapter(Stored):
    """The method of adaptation with all of its options. `GET /v1/methods` describes them."""

    type: str


class Training(Stored):
    """The `TrainingOptions` of a job, with all defaults."""

    devices: int = 1


class PreparedRows(BaseModel):
    """The rows that a job has made of its training file, for `validation_split` and `augmentation`."""

    training_file: Annotated[str, Field(description="The rows that it trains on, as a file to download")]
    training_rows: int
    augmented_rows: Annotated[int, Field(description="Those of the training rows that are variants")]
    validation_rows: Annotated[int, Field(description="Rows held out: those of `validation_file`")]


class Progress(BaseModel):
    """How far a job has come.

    `epoch` counts fractions of an epoch. `percent` is the share of the steps that are done.
    `tokens_per_second` has a value only while the job runs. If a running job is about to pause, its `phase`
    is `pausing`.

    `queue_position` has a value only while the job waits. It is the job's position among the waiting jobs of
    all projects that need as many devices, in the order in which workers will claim them. Position 1 is next.

    `best_valid_loss` is the lowest loss on the whole validation file so far, and `best_step` is its step.
    """

    step: Annotated[int, Field(description="Optimizer steps that the job has made")]
    total_steps: Annotated[
        int | None, Field(description="All optimizer steps of the job. Null until the data are read")
    ]
    epoch: float
    tokens_per_second: Annotated[float | None, Field(description="Tokens of this job per second")]
    percent: Annotated[float | None, Field(description="From 0 to 100")]
    phase: str
    queue_position: int | None
    best_valid_loss: Annotated[float | None, Field(description="In nats per token")]
    best_step: int | None


class JobObject(Identified):
    """A fine-tuning job.

    All times are Unix seconds. `estimated_finish` has a value only while the job runs. `trained_tokens` is
    null before the job has started. `adapter_id` and `fine_tuned_model` are null until the job has succeeded.
    """

    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: Seconds
    started_at: Seconds | None = None
    finished_at: Seconds | None
    estimated_finish: int | None
    status: str
    error: JobError | None
    model: Annotated[
        str, Field(description="The base model, or the fine-tuned model from which the job continues")
    ]
    base_model: str
    fine_tuned_model: str | None
    user_provided_suffix: str | None = None
    organization_id: str
    training_file: str
    validation_file: Annotated[
        str | None,
        Field(description="With `validation_split`, the file that the job makes of the rows held out"),
    ]
    validation_split: float | int | None = None
    augmentation: Augmentation | None = None
    prepared: Annotated[
        PreparedRows | None,
        Field(description="Null until the rows are made, and for a job that trains on its file as it is"),
    ] = None
    result_files: list[str]
    trained_tokens: int | None
    seed: int
    hyperparameters: Hyperparameters
    method: MethodView
    metadata: dict[str, str] | None
    integrations: list[Integration]
    adapter: Adapter
    training: Training
    adapter_id: str | None
    progress: Progress
    evaluate: Annotated[
        Evaluation | None, Field(description="What is evaluated when the job has succeeded. Null: nothing")
    ]
    eval_id: Annotated[
        str | None,
        Field(description="The eval of a job with reinforcement: each validation is a run of it"),
    ] = None
    estimate: Annotated[
        Estimate | None,
        Field(description="What was expected of it when it was created"),
    ] = None
    measured: Annotated[
        Measured | None, Field(description="What was measured of it. Null until something was")
    ] = None
    data_check: Annotated[
        list[DataFinding] | None,
        Field(description="What a check has found in the first 100,000 rows of each file. Null before that"),
    ] = None
    lineage: Annotated[
        list[AncestorObject],
        Field(description="The model from which the job continues, then that model's parent, and so on"),
    ]

    @classmethod
    def of(cls, row: JobRow, lease_seconds: float, queue_position: int | None) -> "JobObject":
        job, spec = row.job, _with_autos(with_hidden_headers(row.job.spec))
        return from_row(
            cls,
            job,
            estimated_finish=_estimated_finish(row, lease_seconds),
            model=model_of(job),
            user_provided_suffix=job.suffix,
            organization_id=job.project_id,
            training_file=job.training_file_id,
            validation_file=job.validation_file_id,
            validation_split=(spec["preparation"] or {}).get("validation_split"),
            augmentation=(spec["preparation"] or {}).get("augmentation"),
            prepared=_prepared(job),
            result_files=[file for file in (job.result_file_id, job.tensorboard_file_id) if file],
            trained_tokens=_trained_tokens(row),
            seed=spec["seed"],
            hyperparameters=Hyperparameters(**spec["hyperparameters"]),
            method=method_view(spec),
            metadata=job.client_metadata,
            integrations=INTEGRATIONS.validate_python(job.integrations),
            adapter=Adapter(**spec["adapter"]),
            training=Training(**spec["training"]),
            adapter_id=row.adapter_id,
            progress=_progress(row, queue_position),
            evaluate=spec["evaluation"],
            eval_id=eval_of(job),
            lineage=lineage_of(job.spec),
        )


class JobDeleted(Deleted):
    object: Literal["fine_tuning.job.deleted"] = "fine_tuning.job.deleted"


def model_of(job: Job) -> str:
    """Return the model that the job begins with: its base model, or the model that it continues from."""
    lineage = lineage_of(job.spec)
    return str(lineage[0]["model"]) if lineage else job.base_model


def _prepared(job: Job) -> PreparedRows | None:
    counts = job.prepared_rows
    if counts is None or job.prepared_file_id is None:
        return None
    return PreparedRows(
        training_file=job.prepared_file_id,
        training_rows=counts["training"],
        augmented_rows=counts["augmented"],
        validation_rows=counts["validation"],
    )


def _with_autos(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the specification with `"auto"` for each option that is still open.

    An option is open if the candidates have different values for it, and none has won yet.
    """
    search = spec["search"]
    if search is None or search["winner"] is not None:
        return spec
    adapters = [candidate["adapter"] for candidate in search["candidates"]]
    rates = {candidate["learning_rate"] for candidate in search["candidates"]}
    adapter = {
        name: value if all(each.get(name) == value for each in adapters) else "auto"
        for name, value in spec["adapter"].items()
    }
    training = spec["training"] if len(rates) == 1 else {**spec["training"], "learning_rate": "auto"}
    return {**spec, "adapter": adapter, "training": training}


def _progress(row: JobRow, queue_position: int | None) -> Progress:
    claim = row.claim or Claim(step=0, epoch=0.0, phase="queued")
    running = row.job.status == "running"
    return Progress(
        step=claim.step,
        total_steps=claim.total_steps,
        epoch=claim.epoch,
        tokens_per_second=claim.tokens_per_second if running else None,
        percent=round(100 * claim.step / claim.total_steps, 1) if claim.total_steps else None,
        phase=_phase(claim) if running else row.job.status,
        queue_position=queue_position,
        best_valid_loss=claim.best_valid_loss,
        best_step=claim.best_step,
    )


def _trained_tokens(row: JobRow) -> int | None:
    """Return the tokens that the job has trained so far. None before the first claim.

    Until the job has succeeded, it is the number that the latest claim has reported.
    """
    if row.job.trained_tokens is not None:
        return row.job.trained_tokens
    return row.claim.trained_tokens if row.claim else None


def _phase(claim: Claim) -> str:
    return "pausing" if claim.pause_requested_at else claim.phase


def _estimated_finish(row: JobRow, lease_seconds: float) -> int | None:
    """Return when the job will end, in Unix seconds.

    The last heartbeat reported how many seconds of work are left, and extended the lease to `lease_seconds`
    from then. So the time of the heartbeat is the end of the lease minus `lease_seconds`.
    """
    if row.job.status != "running" or row.claim is None or row.claim.seconds_left is None:
        return None
    return unix_seconds(row.claim.expires_at + timedelta(seconds=row.claim.seconds_left - lease_seconds))
