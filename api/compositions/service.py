"""Checks requests for compositions. Nothing here commits."""

import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.compositions.adapters import parts_of
from api.compositions.schemas import CompositionDeleted, CompositionObject
from api.files import queries as files
from api.files.service import names_no_file
from api.work.creation import NewTask, RequestContext
from api.work.resource import Resource
from core.compositions.requests import (
    MAX_JUDGED_ROWS,
    ComposeRequest,
    Composition,
    WeightSearch,
    contradictions,
    resolved,
)
from core.datasets.kinds import PURPOSE
from core.errors import InvalidRequest
from core.tables import Adapter, Task
from core.work.kinds import COMPOSITION

COMPOSITIONS = Resource(
    COMPOSITION,
    name="composition",
    called="composition",
    id_name="composition_id",
    view=CompositionObject,
    deleted=CompositionDeleted,
    sizes=(Task.request, Task.report),
    columns=(select(Adapter.model).where(Adapter.id == Task.adapter_id).scalar_subquery(),),
)


def check(session: Session, context: RequestContext, asked: ComposeRequest) -> NewTask:
    """Return the composition that may be created. Raises InvalidRequest."""
    project_id = context.caller.project_id
    for name, reason in contradictions(asked):
        raise InvalidRequest(f"'{name}' is given, but {reason}.", code="invalid_value", param=name)
    if not any(part.weight for part in asked.adapters):
        raise InvalidRequest(
            "All weights are 0, so the result would change nothing. Give one adapter another weight.",
            code="invalid_value",
            param="adapters",
        )
    parts = parts_of(session, project_id, context.catalog, asked)
    if asked.search is not None:
        _check_size(asked.search)
        _check_files(session, project_id, asked.search)
    weighted = zip(parts, asked.adapters, strict=True)
    composition = Composition(
        request=resolved(asked, secrets.randbelow(2**31)),
        base_model=parts[0].base_model.id,
        parents=[part.itself.model_copy(update={"weight": each.weight}) for part, each in weighted],
    )
    return NewTask(composition, {"adapters": [part.adapter for part in asked.adapters]})


def _check_size(search: WeightSearch) -> None:
    """Raise InvalidRequest if the search would judge too many rows."""
    judged = len(search.files) * search.rows * search.trials
    if judged > MAX_JUDGED_ROWS:
        raise InvalidRequest(
            f"The search would judge {judged} rows: {len(search.files)} files x {search.rows} "
            f"rows x {search.trials} trials. At most {MAX_JUDGED_ROWS} are allowed. Ask for "
            "fewer rows or trials.",
            code="invalid_value",
            param="search.rows",
        )


def _check_files(session: Session, project_id: str, search: WeightSearch) -> None:
    """Raise InvalidRequest if a file of the search is none of the project's files with chat rows."""
    for position, file_id in enumerate(search.files):
        param = f"search.files.{position}"
        file = files.find_for_job(session, project_id, file_id)
        if file is None:
            raise names_no_file(file_id, param)
        if file.purpose != PURPOSE or file.kind != "chat":
            raise InvalidRequest(
                f"The file {file_id} holds no chat rows. Upload one with the purpose '{PURPOSE}', "
                "whose rows have 'messages'.",
                code="invalid_file_purpose",
                param=param,
            )
