"""A comparison of two runs as a client reads it."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from api.evals.output_items.schemas import SampleObject, item_id
from api.schemas import Identified
from core.evals.results import CriterionComparison, Record, RowResult
from core.evals.run_request import RunRequest
from core.tables import Task


class ComparedRun(BaseModel):
    run_id: str
    model: Annotated[str, Field(description="Empty if the rows had their samples already")]

    @classmethod
    def of(cls, run: Task) -> Self:
        return cls(run_id=run.id, model=RunRequest.model_validate(run.request).model or "")


class ComparisonObject(BaseModel):
    """Two runs of an eval, compared row by row.

    Values and intervals count only the rows that both runs could judge, so they can differ a little from
    those of the runs alone. All verdicts together are wrong by chance in at most 5 % of comparisons of models
    that are equally good (Holm's correction).
    """

    object: Literal["eval.comparison"] = "eval.comparison"
    eval_id: str
    base: ComparedRun
    tuned: ComparedRun
    compared_rows: Annotated[
        int,
        Field(description="Rows that both runs could judge, each as often as both have sampled it"),
    ]
    left_out_rows: Annotated[int, Field(description="Rows that a run could not judge, counted alike")]
    criteria: list[CriterionComparison]


class RowOfRun(BaseModel):
    """What one run found for a row, by the criterion that is compared."""

    output_item_id: str
    sample: SampleObject
    result: RowResult

    @classmethod
    def of(cls, run: Task, record: Record, position: int) -> Self:
        """Return the row of a run, with the result of the criterion at this position of the eval."""
        return cls(
            output_item_id=item_id(run.id, record.index),
            sample=SampleObject.of(record.sample),
            result=record.results[position],
        )


class ChangedRow(Identified):
    """A row, or one of its samples, that the tuned model does better or worse than the base."""

    object: Literal["eval.comparison.row"] = "eval.comparison.row"
    datasource_item_id: Annotated[int, Field(description="The row's position in the data source, from 0")]
    datasource_item: dict[str, Any]
    change: Annotated[
        float, Field(description="By how much the tuned model's score is better; negative if it is worse")
    ]
    base: RowOfRun
    tuned: RowOfRun
