"""Adds the evaluation that a request asks for to a job's specification, or refuses it."""

from api.eval_requests.check import check_criteria
from api.jobs.creation.found import CRITERIA, Found
from api.jobs.creation.refusals import dataset_of
from api.jobs.creation.schemas import EVALUATED_FILE as FILE
from api.jobs.creation.schemas import CreateJob
from core.datasets.preparation.requests import SPLIT, Preparation
from core.errors import InvalidRequest
from core.evals.evaluation import Evaluation, RequestedEvaluation, default_criteria
from core.jobs.spec import JobSpec
from core.settings import Settings


def with_evaluation(
    spec: JobSpec, asked: RequestedEvaluation, request: CreateJob, found: Found, settings: Settings
) -> JobSpec:
    """Return the specification with the evaluation that is asked for. Raises InvalidRequest."""
    file_id = asked.file or request.validation_file
    held_out = file_id is None and request.validation_split is not None
    if file_id is None and not held_out:
        raise InvalidRequest(
            "An evaluation needs rows that are held out of training. Name a 'validation_file', a "
            f"'{SPLIT}', or '{FILE}'.",
            code="missing_required_parameter",
            param=FILE,
        )
    file = dataset_of(found, FILE, request.files[FILE])
    rows = file.rows or 0
    if held_out:
        rows = Preparation(validation_split=request.validation_split).held_out(rows)
    rows = min(asked.rows or rows, rows)
    if rows > settings.max_eval_rows:
        raise InvalidRequest(
            f"The evaluation would judge {rows:,} rows, and a run judges at most {settings.max_eval_rows:,} "
            f"on this server. Set 'evaluate.rows' to judge the first ones.",
            code="too_many_rows",
            param="evaluate.rows",
        )
    assert file.kind is not None
    criteria = asked.criteria or list(default_criteria(file.kind))
    check_criteria(criteria, settings.python_sandbox, CRITERIA)
    evaluation = Evaluation(criteria=criteria, file=file_id, rows=asked.rows, forgetting=asked.forgetting)
    served = {}
    for named, model in found.graders.items():
        if isinstance(model, InvalidRequest):
            raise model
        served[named.name] = model.served.as_sent()
    return spec.model_copy(update={"evaluation": evaluation, "grader_models": served})
