"""The losses of a job's rows as a client reads them."""

import re
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from api.http.paging import unknown_cursor
from api.jobs.rows.queries import Part
from api.schemas import Identified
from core.tables import Job, RowLoss

ROW_ID = re.compile(r"(training|validation)-([1-9][0-9]{0,8})")


class RowObject(Identified):
    """A row of a job's file, with its losses in nats per learnt token.

    Of a row with two answers, the preferred one is measured. A loss that is not finite is null.
    """

    object: Literal["fine_tuning.job.row"] = "fine_tuning.job.row"
    part: Part
    file_id: Annotated[str, Field(description="The file that the job reads, which has the row")]
    line: Annotated[int, Field(description="The row's line in this file, from 1")]
    tokens: Annotated[int, Field(description="Learnt tokens")]
    loss_before: Annotated[float | None, Field(description="Before the first step")]
    loss_after: Annotated[float | None, Field(description="Of the published state. Null until the end")]
    change: Annotated[float | None, Field(description="`loss_after` minus `loss_before`")]
    suspicion: Annotated[
        float | None,
        Field(
            description="`loss_after` minus the median loss of the eight rows with the most similar prompts"
        ),
    ]

    @classmethod
    def of(cls, row: RowLoss, job: Job) -> "RowObject":
        in_training = row.part == "training"
        file_id = (job.prepared_file_id or job.training_file_id) if in_training else job.validation_file_id
        both = row.before is not None and row.after is not None
        return cls(
            id=f"{row.part}-{row.line}",
            part=cast(Part, row.part),
            file_id=cast(str, file_id),
            line=row.line,
            tokens=row.tokens,
            loss_before=row.before,
            loss_after=row.after,
            change=cast(Any, row.after) - cast(Any, row.before) if both else None,
            suspicion=row.suspicion,
        )


def cursor_of(after: str | None) -> tuple[Part, int] | None:
    """Return the part and the line that an id names. Raises InvalidRequest if it is not an id of a row."""
    if after is None:
        return None
    if (found := ROW_ID.fullmatch(after)) is None:
        raise unknown_cursor(after)
    return cast(Part, found[1]), int(found[2])
