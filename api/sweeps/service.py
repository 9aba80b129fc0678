"""Creates, reads and cancels sweeps, which are jobs with several candidates. Nothing here commits."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api.http.paging import check_cursor
from api.jobs import queries
from api.jobs import service as jobs
from api.jobs.candidates import queries as candidates_of
from api.jobs.creation import service as creation
from api.jobs.queries import Filter, JobRow
from api.sweeps.schemas import CreateSweep, SweepObject, job_id_of
from core.catalog import Catalog
from core.errors import InvalidRequest, NotFound
from core.ids import id_pattern
from core.settings import Settings

SWEEP_ID = id_pattern("ftsweep-")
SWEEPS = Filter({}, without_metadata=False, sweeps_alone=True)


def create(
    session: Session, project_id: str, catalog: Catalog, settings: Settings, request: CreateSweep
) -> SweepObject:
    """Create a sweep. Raises InvalidRequest; its message names the wrong parameter."""
    grid = request.parameters.grid
    if not grid:
        raise InvalidRequest(
            "'parameters' names no values. Send the values to try, such as {\"adapter.r\": [8, 16]}.",
            code="missing_required_parameter",
            param="parameters",
        )
    job = creation.create(session, project_id, catalog, settings, request, grid)
    return _shown(session, [JobRow.of_new(job)])[0]


def get(session: Session, project_id: str, sweep_id: str) -> SweepObject:
    """Return a sweep. Raises NotFound, also for a job that is not a sweep."""
    return _shown(session, [_find(session, project_id, sweep_id)])[0]


def list_page(
    session: Session, project_id: str, after: str | None, limit: int
) -> tuple[list[SweepObject], bool]:
    check_cursor(after, SWEEP_ID)
    after_job = None if after is None else job_id_of(after)
    rows, has_more = queries.page(session, project_id, SWEEPS, after=after_job, limit=limit)
    return _shown(session, rows), has_more


def cancel(session: Session, project_id: str, sweep_id: str) -> SweepObject:
    """Cancel the sweep's job. Raises NotFound, and InvalidRequest if the job has ended."""
    job_id = _find(session, project_id, sweep_id).job.id
    return _shown(session, [jobs.cancel(session, project_id, job_id)])[0]


def _find(session: Session, project_id: str, sweep_id: str) -> JobRow:
    row = queries.find_row(session, project_id, job_id_of(sweep_id)) if SWEEP_ID.fullmatch(sweep_id) else None
    if row is None or not row.job.is_sweep:
        raise NotFound(f"Could not find sweep: {sweep_id[:128]}", code="sweep_not_found", param="sweep_id")
    return row


def _shown(session: Session, rows: Sequence[JobRow]) -> list[SweepObject]:
    """Return the sweeps as a client reads them. One query reads the candidates of all sweeps."""
    candidates = candidates_of.of_jobs(session, [row.job.id for row in rows])
    return [SweepObject.of(row, candidates[row.job.id]) for row in rows]
