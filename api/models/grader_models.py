"""Finds the models that an eval or a job names: the one that a run judges, and those of graders."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from api.eval_requests.check import grader_models
from api.models.chat_models import ChatModel, resolve
from core.catalog import Catalog
from core.errors import InvalidRequest, NotFound
from core.evals.criteria import Criterion

Find = Callable[[str, str], ChatModel]
"""Returns the model of a name, which stands at a place of the request. Raises InvalidRequest."""


def finder(session: Session, project_id: str, catalog: Catalog, key: str) -> Find:
    """Return the function that finds models with which the project may chat.

    If an alias leads to several models, equal keys find the same one.
    """

    def find(name: str, param: str) -> ChatModel:
        try:
            return resolve(session, project_id, catalog, name, lambda: key)
        except NotFound as error:
            raise InvalidRequest(error.message, code=error.code, param=param) from error

    return find


def check_grader_models(
    session: Session, project_id: str, catalog: Catalog, criteria: Sequence[Criterion]
) -> None:
    """Raise InvalidRequest for a grader whose model the project may not chat with."""
    find = finder(session, project_id, catalog, key="")
    for named in grader_models(criteria):
        find(*named)


def served_by_graders(
    find: Find, criteria: Sequence[Criterion], param: str = "testing_criteria"
) -> dict[str, dict[str, Any]]:
    """Return what a server loads for each model that the graders name. Raises InvalidRequest."""
    named = grader_models(criteria, param)
    return {each.name: find(*each).served.as_sent() for each in named}
