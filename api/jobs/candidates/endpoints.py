"""/v1/fine_tuning/jobs/…/candidates: the adapters that a job chooses from, and their losses as a picture."""

from fastapi import Response

from api.admission.auth import CurrentCaller
from api.dependencies import Transaction
from api.http.errors import declared
from api.http.routers import feature
from api.jobs.candidates import curves, queries
from api.jobs.candidates.schemas import CandidatesObject
from api.jobs.service import own_job
from core.errors import NotFound

router = feature("/v1/fine_tuning/jobs/{fine_tuning_job_id}/candidates", "Fine-tuning jobs")


@router.get("", responses=declared(NotFound))
def list_candidates(session: Transaction, caller: CurrentCaller, fine_tuning_job_id: str) -> CandidatesObject:
    """List the adapters that the job chooses from, the best first.

    A job has candidates if its rank `r` is `"auto"`, or if it is a sweep. The list of any other job is empty.
    """
    job = own_job(session, caller.project_id, fine_tuning_job_id)
    return CandidatesObject.of(job, queries.of_jobs(session, [job.id])[job.id])


@router.get(
    "/curves",
    responses=declared(NotFound) | curves.DOCUMENTED,
    response_class=Response,
)
def draw_candidates(session: Transaction, caller: CurrentCaller, fine_tuning_job_id: str) -> Response:
    """Draw the training loss of each candidate by step, as an SVG picture."""
    job = own_job(session, caller.project_id, fine_tuning_job_id)
    return Response(curves.picture(job, queries.curves(session, job.id)), media_type=curves.SVG)
