"""Reads of jobs and of what belongs to them. Those that start from a job's id take the project."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Text,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from api.jobs.word_search import with_words
from core.tables import Adapter, Candidate, CandidateMetric, Checkpoint, Event, Job, Run

MOST_POINTS = 200  # of a curve, about


class JobVersion(NamedTuple):
    """What tells whether a job still reads the same, at a fraction of a `JobRow`'s cost."""

    id: str
    status: str
    version: str


class JobRow(NamedTuple):
    """A job with its latest run and its adapter's id. `version` is another one after each change of these."""

    job: Job
    run: Run | None
    adapter_id: str | None
    version: str

    @property
    def as_version(self) -> JobVersion:
        return JobVersion(self.job.id, self.job.status, self.version)


# Postgres stamps each version of a row with the transaction that wrote it.
VERSION: ColumnElement[str] = func.concat_ws(
    "-",
    cast(literal_column("jobs.xmin"), Text),
    cast(literal_column("runs.xmin"), Text),
    cast(literal_column("adapters.xmin"), Text),
)


def find(session: Session, project_id: str, job_id: str) -> Job | None:
    own = select(Job).where(Job.id == job_id, Job.project_id == project_id, Job.deleted_at.is_(None))
    return session.scalars(own).one_or_none()


def find_row(session: Session, project_id: str, job_id: str) -> JobRow | None:
    found = session.execute(ROW, {"project_id": project_id, "job_id": job_id}).one_or_none()
    return JobRow(*found) if found else None


def find_versions(session: Session, job_ids: Sequence[str]) -> list[tuple[str, JobVersion]]:
    """Those that exist, each with its project's id."""
    found = session.execute(VERSIONS, {"job_ids": job_ids}).all()
    return [(project_id, JobVersion(*version)) for project_id, *version in found]


class Filter(NamedTuple):
    """Which jobs a list is to hold: those with all of `metadata`, or those without any; or sweeps alone; or
    those that read a file, for training or validation; and of these, those of a status, that have all of
    `words`."""

    metadata: dict[str, str]
    without_metadata: bool
    sweeps_alone: bool = False
    file_id: str | None = None
    status: str | None = None
    words: tuple[str, ...] = ()


def page(
    session: Session, project_id: str, wanted: Filter, *, after: str | None, limit: int
) -> tuple[list[JobRow], bool]:
    query = _filtered(_of_project(select(Job, Run, Adapter.id, VERSION), project_id), wanted)
    rows, has_more = fetch_page(session, query, Job.id, after=after, limit=limit)
    return [JobRow(*row) for row in rows], has_more


def page_versions(
    session: Session, project_id: str, wanted: Filter, *, after: str | None, limit: int
) -> tuple[list[JobVersion], bool]:
    """Of the jobs that `page` would find."""
    query = _filtered(_of_project(select(Job.id, Job.status, VERSION), project_id), wanted)
    rows, has_more = fetch_page(session, query, Job.id, after=after, limit=limit)
    return [JobVersion(*row) for row in rows], has_more


def event_sequence(session: Session, job_id: str, event_id: str) -> int | None:
    return session.scalar(select(Event.sequence).where(Event.job_id == job_id, Event.id == event_id))


def events(
    session: Session, job_id: str, *, after: int | None, limit: int, type: str | None = None
) -> tuple[list[Event], bool]:
    query = select(Event).where(Event.job_id == job_id)
    if type is not None:
        query = query.where(Event.type == type)
    rows, has_more = fetch_page(session, query, Event.sequence, after=after, limit=limit)
    return [event for (event,) in rows], has_more


def checkpoint_step(session: Session, job_id: str, checkpoint_id: str) -> int | None:
    return session.scalar(
        select(Checkpoint.step).where(Checkpoint.job_id == job_id, Checkpoint.id == checkpoint_id)
    )


def find_checkpoint(session: Session, job_id: str, checkpoint_id: str) -> Checkpoint | None:
    """One of those that are listed."""
    query = select(Checkpoint).where(
        Checkpoint.job_id == job_id, Checkpoint.id == checkpoint_id, Checkpoint.listed
    )
    return session.scalars(query).one_or_none()


def checkpoints(
    session: Session, job_id: str, *, after: int | None, limit: int
) -> tuple[list[Checkpoint], bool]:
    query = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.listed)
    rows, has_more = fetch_page(session, query, Checkpoint.step, after=after, limit=limit)
    return [checkpoint for (checkpoint,) in rows], has_more


def candidates(session: Session, job_ids: Sequence[str]) -> dict[str, list[Candidate]]:
    """By the job; all of these jobs are there."""
    found: dict[str, list[Candidate]] = {job_id: [] for job_id in job_ids}
    for candidate in session.scalars(select(Candidate).where(Candidate.job_id.in_(job_ids))):
        found[candidate.job_id].append(candidate)
    return found


class Curve(NamedTuple):
    """Training losses of one candidate, by their steps."""

    number: int
    points: list[tuple[int, float]]


def curves(session: Session, job_id: str) -> list[Curve]:
    """Thinned out to some hundred points each, the last one among them."""
    loss = CandidateMetric.data["train_loss"].as_float()
    last = func.max(CandidateMetric.step).over()
    tile = func.greatest(1, last // MOST_POINTS)
    points = (
        select(CandidateMetric.number, CandidateMetric.step, loss.label("loss"), tile.label("tile"))
        .where(CandidateMetric.job_id == job_id)
        .subquery()
    )
    query = (
        select(points.c.number, func.max(points.c.step), func.avg(points.c.loss))
        .where(points.c.loss.is_not(None))
        .group_by(points.c.number, points.c.step // points.c.tile)
        .order_by(points.c.number, func.max(points.c.step))
    )
    rows = session.execute(query).all()
    return [
        Curve(number, [(step, float(mean)) for _, step, mean in points])
        for number, points in groupby(rows, key=lambda row: row[0])
    ]


def _of_project(
    columns: Select[*tuple[Any, ...]], project_id: str | BindParameter[str]
) -> Select[*tuple[Any, ...]]:
    return _with_latest(columns).where(Job.project_id == project_id)


def _with_latest(columns: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Of jobs that are not deleted, their latest runs, and their adapters."""
    return (
        columns.select_from(Job)
        .outerjoin(Run, (Run.job_id == Job.id) & (Run.fence == Job.fence))
        .outerjoin(Adapter, Adapter.job_id == Job.id)
        .where(Job.deleted_at.is_(None))
    )


def _filtered(query: Select[*tuple[Any, ...]], wanted: Filter) -> Select[*tuple[Any, ...]]:
    if wanted.metadata:
        query = query.where(Job.client_metadata.contains(wanted.metadata))
    if wanted.without_metadata:
        query = query.where(Job.client_metadata.is_(None))
    if wanted.sweeps_alone:
        query = query.where(Job.is_sweep)
    if wanted.file_id is not None:
        query = query.where(
            or_(Job.training_file_id == wanted.file_id, Job.validation_file_id == wanted.file_id)
        )
    if wanted.status is not None:
        query = query.where(Job.status == wanted.status)
    if wanted.words:
        query = with_words(query, wanted.words)
    return query


# Polls ask for these: made once, they are not made, and looked up among the compiled ones, each time.
_ONE = bindparam("project_id", type_=Text), bindparam("job_id", type_=Text)
ROW = _of_project(select(Job, Run, Adapter.id, VERSION), _ONE[0]).where(Job.id == _ONE[1])
_SEVERAL = bindparam("job_ids", type_=ARRAY(Text))  # not `IN`, whose text grows with their number
VERSIONS = _with_latest(select(Job.project_id, Job.id, Job.status, VERSION)).where(Job.id == any_(_SEVERAL))
