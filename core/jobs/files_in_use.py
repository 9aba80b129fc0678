"""Says which files jobs may still read, so that neither clients nor the janitor delete them."""

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.orm import InstrumentedAttribute

from core.statuses import ENDED, STATUSES
from core.tables import Job

UNFINISHED = tuple(status for status in STATUSES if status not in ENDED)

Id = str | InstrumentedAttribute[str]


def may_read(project_id: Id, file_id: Id) -> ColumnElement[bool]:
    """Return the condition that a job has not ended and may still read this file of its project.

    A paused job counts too. An index finds the project's jobs that have not ended.
    """
    named = (
        Job.training_file_id,
        Job.validation_file_id,
        Job.prepared_file_id,
        Job.spec["evaluation"]["file"].astext,
    )
    unfinished = and_(Job.project_id == project_id, Job.status.in_(UNFINISHED))
    return and_(unfinished, or_(*(column == file_id for column in named)))
