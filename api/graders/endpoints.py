"""/v1/fine_tuning/alpha/graders: run a grader on one sample, or check whether it can be run."""

from fastapi import APIRouter

from api.graders import service
from api.graders.schemas import GraderRun, RunGrader, ValidatedGrader, ValidateGrader
from api.http.auth import CurrentCaller
from api.http.errors import declared
from api.http.strict_json import StrictJsonRoute
from core.errors import InvalidRequest, NotAuthenticated, TooLarge, Unavailable

router = APIRouter(
    prefix="/v1/fine_tuning/alpha/graders",
    tags=["Graders"],
    route_class=StrictJsonRoute,
    responses=declared(NotAuthenticated, InvalidRequest, TooLarge, Unavailable),
)


@router.post("/run")
def run_grader(_caller: CurrentCaller, body: RunGrader) -> GraderRun:
    """Compute the reward of one sample."""
    return service.run(body)


@router.post("/validate", response_model_exclude_unset=True)
def validate_grader(_caller: CurrentCaller, body: ValidateGrader) -> ValidatedGrader:
    """Return the grader if it can be used.

    For a grader that needs a model, only its form is checked.
    """
    service.check(body.grader)
    return ValidatedGrader(grader=body.grader)
