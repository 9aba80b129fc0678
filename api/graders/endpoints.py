"""/v1/fine_tuning/alpha/graders: run a grader on one sample, or check whether it can be run."""

from typing import Annotated

from fastapi import Depends

from api.admission.auth import CurrentCaller
from api.eval_requests.check import check_endpoints
from api.graders.running import Graders
from api.graders.schemas import GraderRun, RunGrader, ValidatedGrader, ValidateGrader
from api.http.routers import feature
from core.errors import InvalidRequest, TooLarge
from core.graders.check import check
from core.graders.sample import Sample

router = feature("/v1/fine_tuning/alpha/graders", "Graders", InvalidRequest, TooLarge)


@router.post("/run")
async def run_grader(
    caller: CurrentCaller, body: RunGrader, graders: Annotated[Graders, Depends()]
) -> GraderRun:
    """Compute the reward of one sample.

    If the sample cannot be graded, the reward is 0, and `metadata.errors` says what is wrong.
    """
    grade = await graders.run(caller.project_id, body.grader, body.item, Sample(body.model_sample))
    return GraderRun.of(body.grader, grade)


@router.post("/validate", response_model_exclude_unset=True)
def validate_grader(
    _caller: CurrentCaller, graders: Annotated[Graders, Depends()], body: ValidateGrader
) -> ValidatedGrader:
    """Return the grader if it can be used.

    For a grader that needs a model, only its form is checked. For an endpoint, its address is checked too,
    and no request is sent to it. The values of its headers are hidden. What the source of a Python grader
    defines is run once.
    """
    check(body.grader, sandbox=graders.processes.sandbox)
    check_endpoints(graders.egress, body.grader, "grader")
    return ValidatedGrader(grader=body.grader)
