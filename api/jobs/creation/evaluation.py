"""Checks the evaluation that a request asks for, and resolves its defaults."""

from collections.abc import Callable

from api.jobs.creation.schemas import CreateJob
from core.datasets.preparation.requests import SPLIT, Preparation
from core.errors import InvalidRequest
from core.evals.check import check_criteria
from core.evals.evaluation import Evaluation, default_criteria
from core.tables import File

PARAM = "evaluate"
CRITERIA = f"{PARAM}.criteria"


def evaluation_of(
    request: CreateJob, dataset: Callable[[str, str], File], most_rows: int
) -> Evaluation | None:
    """Return the evaluation that a request asks for. None if it asks for none.

    `dataset` returns a file that the project can train on; its arguments are the parameter and the file's id.
    Raises InvalidRequest.
    """
    asked = request.evaluate
    if asked is None:
        return None
    file_id = asked.file or request.validation_file
    held_out = file_id is None and request.validation_split is not None
    if file_id is None and not held_out:
        raise InvalidRequest(
            "An evaluation needs rows that are held out of training. Name a 'validation_file', a "
            f"'{SPLIT}', or '{PARAM}.file'.",
            code="missing_required_parameter",
            param=f"{PARAM}.file",
        )
    file = dataset(f"{PARAM}.file", file_id or request.training_file)
    rows = file.rows or 0
    if held_out:
        rows = Preparation(validation_split=request.validation_split).held_out(rows)
    _refuse_too_many_rows(min(asked.rows or rows, rows), most_rows)
    assert file.kind is not None
    criteria = asked.criteria or list(default_criteria(file.kind))
    check_criteria(criteria, CRITERIA)
    return Evaluation(criteria=criteria, file=file_id, rows=asked.rows, forgetting=asked.forgetting)


def _refuse_too_many_rows(rows: int, most: int) -> None:
    if rows > most:
        raise InvalidRequest(
            f"The evaluation would judge {rows:,} rows, and a run judges at most {most:,} on this server. "
            f"Set '{PARAM}.rows' to judge the first ones.",
            code="too_many_rows",
            param=f"{PARAM}.rows",
        )
