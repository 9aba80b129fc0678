"""Empties the artifacts whose end has come (`core/artifacts.py`): doomed ones, and those of dead writers.

This is the only place where stored bytes are removed after their writer has gone. An artifact of Postgres has
no objects: the rows and texts of its owner go instead.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Text, case, delete, func, literal, null, select, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from core.artifacts import PAUSES
from core.database import database_time, from_now
from core.process.failpoints import reached
from core.storage.object_store import ObjectStore
from core.tables import (
    Artifact,
    Candidate,
    CandidateMetric,
    Checkpoint,
    CheckpointPermission,
    Event,
    Job,
    Metric,
    RowLoss,
    Task,
)
from core.work import client as tasks
from worker.supervisor.removal import delete_in_batches, log_failure

AT_ONCE = 100
RETRY = timedelta(minutes=1)  # after which another janitor takes what this one could not empty
NO_ERROR_ANY_MORE = {"code": "deleted", "message": "", "param": None}  # of what has failed and is deleted
# These replace the texts of its client in a deleted job's specification
NO_TEXTS_ANY_MORE: Mapping[str, Any] = {"evaluation": None, "grader_models": {}, "preparation": None}
TEXTS_OF_OBJECTIVE = [["objective", name] for name in ("grader", "audit_grader", "tools", "response_format")]
DELETED_WITH_JOB = (Candidate, CandidateMetric, Metric, Event, Checkpoint, RowLoss)


def empty_artifacts(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Empty all artifacts whose end has come. It never raises, and several janitors may do it at once.

    Those whose end comes meanwhile wait for the next call, and so do those that cannot be emptied.
    """
    with log_failure("artifacts"):
        with sessions() as session:
            until = database_time(session)
        while taken := _take(sessions, until):
            for artifact in taken:
                with log_failure(artifact.prefix or artifact.owner_id):
                    _empty(sessions, store, artifact)


def _take(sessions: sessionmaker[Session], until: datetime) -> Sequence[Artifact]:
    """Doom artifacts whose end came before `until`, so that no writer keeps them, and return them.

    No other janitor takes them for a while. Those that cannot be emptied are behind the others the next time.
    """
    ended = select(Artifact.id).where(Artifact.expires_at <= until).order_by(Artifact.expires_at)
    batch = ended.limit(AT_ONCE).with_for_update(skip_locked=True).cte("batch")
    taken = update(Artifact).where(Artifact.id.in_(select(batch.c.id)))
    later = from_now(RETRY.total_seconds())
    with sessions.begin() as session:
        return session.scalars(taken.values(state="doomed", expires_at=later).returning(Artifact)).all()


def _empty(sessions: sessionmaker[Session], store: ObjectStore, artifact: Artifact) -> None:
    if artifact.prefix is not None:
        store.empty(artifact.prefix)
    elif artifact.owner_kind in HELD_BY_POSTGRES:
        HELD_BY_POSTGRES[artifact.owner_kind](sessions, artifact.owner_id)
    reached("artifact.emptied")
    own, left = Artifact.id == artifact.id, artifact.rounds - 1
    with sessions.begin() as session:
        if left:
            later = func.now() + PAUSES[left]
            session.execute(update(Artifact).where(own).values(rounds=left, expires_at=later))
        else:
            session.execute(delete(Artifact).where(own))


def _remove_rows_of_job(sessions: sessionmaker[Session], job_id: str) -> None:
    """Remove what belonged to a deleted job. Its row stays, without the texts of its owner.

    Adapters, usage and the audit log refer to it. An adapter is described by the rest of the specification.
    """
    for table in DELETED_WITH_JOB:
        delete_in_batches(sessions, table, table.job_id == job_id)
    shared = CheckpointPermission
    with sessions.begin() as session:
        tasks.delete_all(session, Task.job_id == job_id)
        session.execute(delete(shared).where(shared.job_id == job_id, shared.step.is_not(None)))
        blank: dict[str, Any] = {"client_metadata": None, "integrations": [], "data_check": null()}
        blank |= {"error": _no_error(Job.error), "spec": _without_texts(Job.spec)}
        session.execute(update(Job).where(Job.id == job_id).values(**blank))


def _remove_texts_of_task(sessions: sessionmaker[Session], task_id: str) -> None:
    """Remove the texts of a deleted task, which may quote rows. Its row stays."""
    blank = {"files": [], "bytes": 0, "request": {}, "report": null(), "error": _no_error(Task.error)}
    with sessions.begin() as session:
        session.execute(update(Task).where(Task.id == task_id).values(**blank))


def _without_texts(spec: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """Return a job's specification without the texts of its client."""
    found: ColumnElement[Any] = spec.op("||")(literal(NO_TEXTS_ANY_MORE, JSONB))
    for path in TEXTS_OF_OBJECTIVE:
        found = found.op("#-")(literal(path, ARRAY(Text)))
    return found


def _no_error(error: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """Return the error of a row without its texts. A row that has not failed has none."""
    return case((error.is_not(None), literal(NO_ERROR_ANY_MORE, JSONB)), else_=null())


HELD_BY_POSTGRES: Mapping[str, Callable[[sessionmaker[Session], str], None]] = {
    "job": _remove_rows_of_job,
    "task": _remove_texts_of_task,
}
