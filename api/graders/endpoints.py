"""/v1/fine_tuning/alpha/graders: run a grader on one sample, or check whether it can be run."""

from typing import Annotated

from fastapi import Depends

from api.admission.auth import CurrentCaller
from api.dependencies import component
from api.graders.schemas import GraderRun, RunGrader, ValidatedGrader, ValidateGrader
from api.http.routers import feature
from core.errors import InvalidRequest, TooLarge
from core.graders.check import check
from core.graders.processes import GraderProcesses

Processes = Annotated[GraderProcesses, Depends(component("grader_processes"))]

router = feature("/v1/fine_tuning/alpha/graders", "Graders", InvalidRequest, TooLarge)


@router.post("/run")
async def run_grader(_caller: CurrentCaller, body: RunGrader, processes: Processes) -> GraderRun:
    """Compute the reward of one sample.

    If the sample cannot be graded, the reward is 0, and `metadata.errors` says what is wrong.
    """
    return GraderRun.of(body.grader, await processes.grade(body.grader, body.item, body.model_sample))


@router.post("/validate", response_model_exclude_unset=True)
def validate_grader(_caller: CurrentCaller, body: ValidateGrader, processes: Processes) -> ValidatedGrader:
    """Return the grader if it can be used.

    For a grader that needs a model, only its form is checked. What the source of a Python grader defines is
    run once.
    """
    check(body.grader, sandbox=processes.sandbox)
    return ValidatedGrader(grader=body.grader)
