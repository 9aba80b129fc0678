"""A job and what belongs to it, as a client reads them: OpenAI's shapes, with Tunery's fields beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from api.http.conditional import weak_tag
from api.jobs.method_schemas import Hyperparameters, MethodView, Stored, method_view
from api.jobs.places import QueuePlaces
from api.jobs.queries import JobRow, JobVersion
from api.jobs.series import Found
from api.schemas import Identified, unix_seconds
from core.jobs.integrations import Integration
from core.tables import CandidateMetric, Checkpoint, Event, Metric, Run

INTEGRATIONS: TypeAdapter[list[Integration]] = TypeAdapter(list[Integration])


class JobError(BaseModel):
    code: str
    message: str
    param: str | None


class Adapter(Stored):
    """The method of adaptation, with all of its options: see `GET /v1/methods`."""

    type: str


class Training(Stored):
    """The `TrainingOptions` of the job's creation, and what holds by default."""

    devices: int = 1


class Progress(BaseModel):
    """`tokens_per_second` has a value while the job runs, `queue_position` while it waits.

    `best_valid_loss` is the lowest loss on the whole validation file so far, of `best_step`.

    The position is the place among all projects' waiting jobs on as many devices, in the order in which they
    are claimed, 1 for the next one. The phase of a running job that is about to pause is `pausing`.
    """

    step: int
    total_steps: int | None
    epoch: float
    tokens_per_second: float | None
    percent: float | None
    phase: str
    queue_position: int | None
    best_valid_loss: float | None
    best_step: int | None


class JobObject(Identified):
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    started_at: int | None = None
    finished_at: int | None
    estimated_finish: int | None
    status: str
    error: JobError | None
    model: str
    fine_tuned_model: str | None
    user_provided_suffix: str | None = None
    organization_id: str
    training_file: str
    validation_file: str | None
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

    @classmethod
    def of(cls, row: JobRow, lease_seconds: float, queue_position: int | None) -> "JobObject":
        job, spec = row.job, _with_autos(row.job.spec)
        hyperparameters = Hyperparameters(**spec["hyperparameters"])
        return cls(
            id=job.id,
            created_at=unix_seconds(job.created_at),
            started_at=unix_seconds(job.started_at) if job.started_at else None,
            finished_at=unix_seconds(job.finished_at) if job.finished_at else None,
            estimated_finish=_estimated_finish(row, lease_seconds),
            status=job.status,
            error=JobError(**job.error) if job.error else None,
            model=job.base_model,
            fine_tuned_model=job.fine_tuned_model,
            user_provided_suffix=job.suffix,
            organization_id=job.project_id,
            training_file=job.training_file_id,
            validation_file=job.validation_file_id,
            result_files=[file for file in (job.result_file_id, job.tensorboard_file_id) if file],
            trained_tokens=_trained_tokens(row),
            seed=spec["seed"],
            hyperparameters=hyperparameters,
            method=method_view(spec),
            metadata=job.client_metadata,
            integrations=INTEGRATIONS.validate_python(job.integrations),
            adapter=Adapter(**spec["adapter"]),
            training=Training(**spec["training"]),
            adapter_id=row.adapter_id,
            progress=_progress(row, queue_position),
        )


@dataclass(frozen=True)
class Presenter:
    """Shows jobs, and tells by a tag whether they still look the same."""

    lease_seconds: float
    places: QueuePlaces

    def job(self, row: JobRow) -> JobObject:
        return JobObject.of(row, self.lease_seconds, self._place(row.as_version))

    def new_job(self, row: JobRow) -> JobObject:
        """One of this transaction, which has no place yet: places are read by others, for all."""
        return JobObject.of(row, self.lease_seconds, queue_position=None)

    def tag(self, versions: Sequence[JobVersion], has_more: bool = False) -> str:
        """An ETag of one job, or of a page of them."""
        return weak_tag(has_more, *((*version, self._place(version)) for version in versions))

    def _place(self, version: JobVersion) -> int | None:
        return self.places.of(version.id) if version.status == "queued" else None


class JobDeleted(BaseModel):
    id: str
    object: Literal["fine_tuning.job.deleted"] = "fine_tuning.job.deleted"
    deleted: Literal[True] = True


class EventObject(Identified):
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: str
    message: str
    type: str
    data: dict[str, Any] | None

    @classmethod
    def of(cls, event: Event) -> "EventObject":
        return cls(
            id=event.id,
            created_at=unix_seconds(event.created_at),
            level=event.level,
            message=event.message,
            type=event.type,
            data=event.data,
        )


class CheckpointObject(Identified):
    """`best` is the one whose `full_valid_loss` is the lowest that the job has had; none is without a
    validation file."""

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


class MetricsPoint(BaseModel):
    """The values of one step, under the names of the metrics events.

    Steps that an earlier release made lack some of the values.
    """

    model_config = ConfigDict(extra="allow")

    step: int
    trained_seconds: Annotated[
        float | None,
        Field(description="Of all steps so far, without validations and pauses; neighbours make them longer"),
    ] = None
    trained_tokens: Annotated[int | None, Field(description="In all steps so far")] = None
    trainer_memory_bytes: Annotated[
        int | None,
        Field(description="What the trainer held after the step, for all jobs that it trains together"),
    ] = None

    @classmethod
    def of(cls, metric: Metric | CandidateMetric) -> "MetricsPoint":
        return cls(**{**metric.data, "step": metric.step})


class MetricsSeries(BaseModel):
    """The next part of the series is asked for with `after_step=` the last step.

    `thinned` says that steps were left out, as `points` asks for.
    """

    object: Literal["list"] = "list"
    data: list[MetricsPoint]
    has_more: bool
    thinned: bool

    @classmethod
    def of(cls, found: Found) -> "MetricsSeries":
        points = [MetricsPoint.of(metric) for metric in found.steps]
        return cls(data=points, has_more=found.has_more, thinned=found.thinned)


def _with_autos(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """With `"auto"` for what is still to be chosen: where candidates differ, and none has won yet."""
    search = spec.get("search")
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
    run = row.run or Run(step=0, epoch=0.0, phase="queued")
    running = row.job.status == "running"
    return Progress(
        step=run.step,
        total_steps=run.total_steps,
        epoch=run.epoch,
        tokens_per_second=run.tokens_per_second if running else None,
        percent=round(100 * run.step / run.total_steps, 1) if run.total_steps else None,
        phase=_phase(run) if running else row.job.status,
        queue_position=queue_position,
        best_valid_loss=run.best_valid_loss,
        best_step=run.best_step,
    )


def _trained_tokens(row: JobRow) -> int | None:
    """Of the whole job once it has succeeded; before, as its latest run told. None before the first run."""
    if row.job.trained_tokens is not None:
        return row.job.trained_tokens
    return row.run.trained_tokens if row.run else None


def _phase(run: Run) -> str:
    return "pausing" if run.pause_requested_at else run.phase


def _estimated_finish(row: JobRow, lease_seconds: float) -> int | None:
    """The last heartbeat prolonged the lease by `lease_seconds`, and said how many seconds are left."""
    if row.job.status != "running" or row.run is None or row.run.seconds_left is None:
        return None
    return unix_seconds(row.run.expires_at + timedelta(seconds=row.run.seconds_left - lease_seconds))
