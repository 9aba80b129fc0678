"""Starts, reads and ends compositions. Nothing here commits."""

import secrets

from sqlalchemy.orm import Session

from api.compositions import queries
from api.compositions.parts import parts_of
from api.compositions.queries import KIND, CompositionRow
from api.files import queries as files
from api.files.service import names_no_file
from api.http.paging import check_cursor
from core.access.quotas import Quotas, check_room
from core.catalog import Catalog
from core.compositions.requests import (
    MAX_JUDGED_ROWS,
    ComposeRequest,
    Composition,
    WeightSearch,
    contradictions,
    resolved,
)
from core.datasets.kinds import PURPOSE
from core.errors import InvalidRequest, NotFound
from core.ids import id_pattern
from core.work import client as tasks

COMPOSITION_ID = id_pattern("composition-")


def create(
    session: Session,
    project_id: str,
    catalog: Catalog,
    asked: ComposeRequest,
    quotas: Quotas,
    most_open: int,
) -> CompositionRow:
    """Put a composition into the queue.

    Raises InvalidRequest, RateLimited if too many tasks are unfinished, and QuotaExceeded if the project's
    store is full.
    """
    for name, reason in contradictions(asked):
        raise InvalidRequest(f"'{name}' is given, but {reason}.", code="invalid_value", param=name)
    if not any(part.weight for part in asked.adapters):
        raise InvalidRequest(
            "All weights are 0, so the result would change nothing. Give one adapter another weight.",
            code="invalid_value",
            param="adapters",
        )
    parts = parts_of(session, project_id, catalog, asked)
    if asked.search is not None:
        _check_size(asked.search)
        _check_files(session, project_id, asked.search)
    check_room(session, project_id, quotas.stored_bytes)
    weighted = zip(parts, asked.adapters, strict=True)
    composition = Composition(
        request=resolved(asked, secrets.randbelow(2**31)),
        base_model=parts[0].base_model.id,
        parents=[part.itself.model_copy(update={"weight": each.weight}) for part, each in weighted],
    )
    task = tasks.create(session, project_id, KIND, composition.model_dump(mode="json"), most_open)
    return CompositionRow(task, None)


def get(session: Session, project_id: str, composition_id: str) -> CompositionRow:
    """Return a composition of the project. Raises NotFound."""
    row = queries.find(session, project_id, composition_id)
    if row is None:
        raise NotFound(
            f"No such composition: {composition_id}", code="composition_not_found", param="composition_id"
        )
    return row


def list_page(
    session: Session, project_id: str, after: str | None, limit: int
) -> tuple[list[CompositionRow], bool]:
    """Return a page of the project's compositions, newest first."""
    check_cursor(after, COMPOSITION_ID)
    return queries.page(session, project_id, after=after, limit=limit)


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
    for place, file_id in enumerate(search.files):
        param = f"search.files.{place}"
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
