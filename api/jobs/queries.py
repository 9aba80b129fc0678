"""Reads jobs. Most functions take the project's id, and find only its jobs.

`find_rows` and `find_versions` find jobs of all projects.
"""

from collections.abc import Sequence
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

from api.http.paging import bytes_of, fetch_page
from api.jobs.word_search import jobs_with_words
from core.tables import Adapter, Claim, Job


class JobVersion(NamedTuple):
    """The values that change whenever a job's answer changes. They cost much less to read than a `JobRow`."""

    id: str
    status: str
    version: str


class JobRow(NamedTuple):
    """A job with its latest claim and its adapter's id. `version` changes if one of these three changes."""

    job: Job
    claim: Claim | None
    adapter_id: str | None
    version: str

    @classmethod
    def of_new(cls, job: Job) -> "JobRow":
        """Return the row of a job that this transaction creates. The job has no claim and no version yet."""
        return cls(job, claim=None, adapter_id=None, version="")

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

SIZE = bytes_of(Job.spec, Job.client_metadata, Job.integrations, Job.data_check)


def find(session: Session, project_id: str, job_id: str) -> Job | None:
    own = select(Job).where(Job.id == job_id, Job.project_id == project_id, Job.deleted_at.is_(None))
    return session.scalars(own).one_or_none()


def find_row(session: Session, project_id: str, job_id: str) -> JobRow | None:
    found = session.execute(ROW, {"project_id": project_id, "job_id": job_id}).one_or_none()
    return JobRow(*found) if found else None


def find_rows(session: Session, job_ids: Sequence[str]) -> list[JobRow]:
    """Return the jobs with these ids, as far as they exist, of whatever project."""
    return [JobRow(*found) for found in session.execute(ROWS, {"job_ids": job_ids}).all()]


def find_versions(session: Session, job_ids: Sequence[str]) -> list[tuple[str, JobVersion]]:
    """Return the versions of the jobs with these ids, as far as they exist, each with its project's id."""
    found = session.execute(VERSIONS, {"job_ids": job_ids}).all()
    return [(project_id, JobVersion(*version)) for project_id, *version in found]


class Filter(NamedTuple):
    """The conditions for the jobs of a list. A job must meet all of them."""

    metadata: dict[str, str]
    """Pairs that the job's metadata holds"""
    without_metadata: bool
    """True: the job has no metadata"""
    sweeps_alone: bool = False
    """True: the job is a sweep"""
    file_id: str | None = None
    """A file that the job reads, for training or validation"""
    status: str | None = None
    words: tuple[str, ...] = ()
    """Words that must all occur in the job's names: see `word_search`"""


def page(
    session: Session, project_id: str, wanted: Filter, *, after: str | None, limit: int
) -> tuple[list[JobRow], bool]:
    """Return a page of the wanted jobs. It ends early if it would have too many bytes."""
    columns = select(Job, Claim, Adapter.id, VERSION)
    rows, has_more = _fetch(session, columns, project_id, wanted, after=after, limit=limit, size=SIZE)
    return [JobRow(*row) for row in rows], has_more


def page_versions(
    session: Session, project_id: str, wanted: Filter, *, after: str | None, limit: int
) -> tuple[list[JobVersion], bool]:
    """Return the versions of the jobs that `page` returns, and of those for which it had no room."""
    columns = select(Job.id, Job.status, VERSION)
    rows, has_more = _fetch(session, columns, project_id, wanted, after=after, limit=limit)
    return [JobVersion(*row) for row in rows], has_more


def _fetch(
    session: Session,
    columns: Select[*tuple[Any, ...]],
    project_id: str,
    wanted: Filter,
    *,
    after: str | None,
    limit: int,
    size: ColumnElement[int] | None = None,
) -> tuple[list[Any], bool]:
    query = _filtered(_of_project(columns, project_id), wanted)
    if not wanted.words:
        return fetch_page(session, query, Job.id, after=after, limit=limit, size=size)
    for named in jobs_with_words(project_id, wanted.words, after):
        having = query.join(named, named.c.job_id == Job.id)
        rows, has_more = fetch_page(session, having, Job.id, after=after, limit=limit, size=size)
        if has_more:  # the page is full
            break
    return rows, has_more


def _of_project(
    columns: Select[*tuple[Any, ...]], project_id: str | BindParameter[str]
) -> Select[*tuple[Any, ...]]:
    return _with_latest(columns).where(Job.project_id == project_id)


def _with_latest(columns: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Return a query of the jobs that are not deleted, with their latest claims and their adapters."""
    return (
        columns.select_from(Job)
        .outerjoin(Claim, (Claim.job_id == Job.id) & (Claim.fence == Job.fence))
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
            or_(
                Job.training_file_id == wanted.file_id,
                Job.validation_file_id == wanted.file_id,
                Job.prepared_file_id == wanted.file_id,
            )
        )
    if wanted.status is not None:
        query = query.where(Job.status == wanted.status)
    return query


# Polls run these queries. They are built once. To build them for each poll, and to find them among the
# compiled queries, would double the cost.
_ONE = bindparam("project_id", type_=Text), bindparam("job_id", type_=Text)
ROW = _of_project(select(Job, Claim, Adapter.id, VERSION), _ONE[0]).where(Job.id == _ONE[1])
_SEVERAL = bindparam("job_ids", type_=ARRAY(Text))  # not `IN`: its text grows with the number of ids
ROWS = _with_latest(select(Job, Claim, Adapter.id, VERSION)).where(Job.id == any_(_SEVERAL))
VERSIONS = _with_latest(select(Job.project_id, Job.id, Job.status, VERSION)).where(Job.id == any_(_SEVERAL))
