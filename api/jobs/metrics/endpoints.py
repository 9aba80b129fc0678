"""/v1/fine_tuning/jobs/…/metrics: the metrics of a job, or of one of its candidates, by step."""

from typing import Annotated

from fastapi import Query

from api.admission.auth import CurrentCaller
from api.dependencies import Transaction
from api.http.errors import declared
from api.http.routers import feature
from api.jobs.metrics import queries
from api.jobs.metrics.queries import Wanted
from api.jobs.metrics.schemas import MetricsSeries
from api.jobs.service import own_job
from core.errors import InvalidRequest, NotFound
from core.jobs.search import MAX_CANDIDATES

MAX_STEPS = 10_000
FEWEST_POINTS = 100
LARGEST_STEP = 2**31 - 1

Candidate = Annotated[
    int | None,
    Query(ge=0, lt=MAX_CANDIDATES, description="The number of the candidate whose metrics to return"),
]

router = feature("/v1/fine_tuning/jobs/{fine_tuning_job_id}/metrics", "Fine-tuning jobs")


@router.get("", responses=declared(NotFound, InvalidRequest))
def list_metrics(
    session: Transaction,
    caller: CurrentCaller,
    fine_tuning_job_id: str,
    candidate: Candidate = None,
    after_step: Annotated[
        int, Query(ge=-1, le=LARGEST_STEP, description="Returns only steps after this one")
    ] = -1,
    until_step: Annotated[
        int, Query(ge=0, le=LARGEST_STEP, description="Returns only steps up to and including this one")
    ] = LARGEST_STEP,
    limit: Annotated[
        int, Query(ge=1, le=MAX_STEPS, description="The most steps to return. Has no effect with `points`")
    ] = MAX_STEPS,
    points: Annotated[
        int | None,
        Query(ge=FEWEST_POINTS, le=MAX_STEPS, description="Thins a longer series to about so many steps"),
    ] = None,
) -> MetricsSeries:
    """Return the metrics of all steps after `after_step`, up to and including `until_step`, oldest first.

    With `points`, a longer series is thinned to about so many steps, and `limit` has no effect. The thinned
    series keeps, from each stretch of neighbouring steps, those at which a value is smallest or largest.

    If the job has several candidates, the metrics are those of the candidate that leads at the moment. Once
    the job has ended, they are the winner's, from its first step. `candidate` selects another candidate.
    """
    wanted = Wanted(candidate, after_step, until_step, limit, points)
    job = own_job(session, caller.project_id, fine_tuning_job_id)
    return MetricsSeries.of(queries.read(session, job.id, wanted))
