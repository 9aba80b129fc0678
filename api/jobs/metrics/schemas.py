"""The metrics of a job as a client reads them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.jobs.metrics.queries import Found
from core.tables import CandidateMetric, Metric


class MetricsPoint(BaseModel):
    """The values of one step, under the same names as in the events of type `metrics`."""

    model_config = ConfigDict(extra="allow")

    step: int
    trained_seconds: Annotated[
        float | None,
        Field(
            description="Seconds that all steps so far took, without validations and pauses. Steps take "
            "longer while other jobs train at the same time."
        ),
    ] = None
    trained_tokens: Annotated[int | None, Field(description="Tokens that all steps so far trained")] = None
    trainer_memory_bytes: Annotated[
        int | None,
        Field(
            description="Memory in bytes that the trainer held after the step, for all jobs that it trains "
            "together"
        ),
    ] = None

    @classmethod
    def of(cls, metric: Metric | CandidateMetric) -> "MetricsPoint":
        return cls(**{**metric.data, "step": metric.step})


class MetricsSeries(BaseModel):
    """A part of the series. Ask for the next part with `after_step`, set to the last step of this one.

    `thinned` is true if steps were left out because the request has `points`.
    """

    object: Literal["list"] = "list"
    data: list[MetricsPoint]
    has_more: bool
    thinned: bool

    @classmethod
    def of(cls, found: Found) -> "MetricsSeries":
        points = [MetricsPoint.of(metric) for metric in found.steps]
        return cls(data=points, has_more=found.has_more, thinned=found.thinned)
