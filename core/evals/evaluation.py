"""The evaluation that a job asks for: when its result exists, the base and the tuned model are compared."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from core.datasets.kinds import Kind
from core.evals.criteria import MAX_CRITERIA, Criterion, ExactMatch, Loss
from core.evals.data_sources import Rows
from core.options import Options

Criteria = Annotated[list[Criterion], Field(min_length=1, max_length=MAX_CRITERIA)]
Forgetting = Annotated[
    bool,
    Field(
        description="Whether both models are also asked general questions, to see what training made the "
        "model forget"
    ),
]


class RequestedEvaluation(Options):
    """An evaluation of the job's result, beside the same evaluation of its base model.

    An empty object takes every default.
    """

    criteria: Annotated[
        Criteria | None,
        Field(description="As in `POST /v1/evals`. Default: `loss`, and `exact_match` if each row is a chat"),
    ] = None
    file: Annotated[
        str | None,
        Field(
            description="A file with the purpose `fine-tune`. Default: the job's validation file, or the "
            "rows that `validation_split` holds out"
        ),
    ] = None
    rows: Rows = None
    forgetting: Forgetting = True


class Evaluation(Options):
    """A requested evaluation with every default resolved, as the job's specification keeps it."""

    criteria: Criteria
    file: Annotated[str | None, Field(description="Null: the rows that `validation_split` holds out")]
    rows: Rows
    forgetting: Forgetting


def default_criteria(kind: Kind) -> Sequence[Criterion]:
    """Return the criteria for a dataset: what a model writes is only judged if one answer is right."""
    return [Loss(type="loss"), ExactMatch(type="exact_match")] if kind == "chat" else [Loss(type="loss")]
