"""Adds the evaluation that a request asks for to a job's specification, and what its graders need."""

from collections.abc import Sequence

from api.eval_requests.check import check_criteria
from api.jobs.creation.found import CRITERIA, Found
from api.jobs.creation.refusals import dataset_of, invalid_value
from api.jobs.creation.schemas import EVALUATED_FILE as FILE
from api.jobs.creation.schemas import CreateJob
from core.datasets.kinds import Kind
from core.datasets.preparation.requests import SPLIT, Preparation
from core.errors import InvalidRequest
from core.evals.criteria import CRITERION, OF_THE_ROWS_ANSWER, Criterion
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
    criteria = asked.criteria or _default_criteria(file.kind, spec)
    check_criteria(criteria, settings.python_sandbox, CRITERIA)
    _refuse_missing_answers(file.kind, criteria)
    evaluation = Evaluation(criteria=criteria, file=file_id, rows=asked.rows, forgetting=asked.forgetting)
    return spec.model_copy(update={"evaluation": evaluation})


def _default_criteria(kind: Kind, spec: JobSpec) -> list[Criterion]:
    """Return the criteria of a request that names none. Prompts are judged by the grader of their job."""
    if kind != "prompt":
        return list(default_criteria(kind))
    if (grader := getattr(spec.objective, "grader", None)) is not None:
        return [CRITERION.validate_python(grader.model_dump())]
    raise InvalidRequest(
        f"The rows are prompts without answers. Name in '{CRITERIA}' by what an answer is judged.",
        code="missing_required_parameter",
        param=CRITERIA,
    )


def _refuse_missing_answers(kind: Kind, criteria: Sequence[Criterion]) -> None:
    """Refuse criteria that judge the row's own answer, if the rows are prompts."""
    for index, criterion in enumerate(criteria):
        if kind == "prompt" and criterion.type in OF_THE_ROWS_ANSWER:
            reason = f"cannot be '{criterion.type}', because prompts have no answers. Name a grader."
            raise invalid_value(f"{CRITERIA}.{index}.type", reason)


def with_grader_models(spec: JobSpec, found: Found) -> JobSpec:
    """Return the specification with what a server loads for each model of its graders, and for its teacher.

    Raises InvalidRequest if the project may not ask one of them.
    """
    served = {}
    for named, model in found.graders.items():
        if isinstance(model, InvalidRequest):
            raise model
        served[named.name] = model.served.as_sent()
    return spec.model_copy(update={"grader_models": served}) if served else spec
