"""Stores chat completions if the project may, and reads, rates and deletes them."""

import re
from typing import Any

import structlog
from sqlalchemy import func
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api.admission.callers import Caller
from api.http.paging import check_cursor
from api.stored_completions import queries
from api.stored_completions.queries import Selection
from api.stored_completions.schemas import RateCompletion, StoredMessage
from core.access import audit
from core.errors import NotFound, QuotaExceeded
from core.ids import id_pattern
from core.serving import stored_completions
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.sampling import Sampling
from core.serving.stored_completions import ID_PREFIX, prompt_sha256
from core.tables import StoredCompletion

COMPLETION_ID = id_pattern(ID_PREFIX)
TIMED_ID = re.compile(ID_PREFIX + "[0-9a-f]{12}7[0-9a-f]{19}")  # retention and spans of time rely on it
NOT_KEPT = {"store", "metadata", "stream", "stream_options"}

log = structlog.get_logger()


def may_store(caller: Caller, request: Sampling) -> bool:
    """Return whether the client has asked to store a chat, and its project stores any."""
    asked = isinstance(request, ChatRequest) and bool(request.store)
    return asked and caller.quotas.completion_bytes > 0


def store(
    sessions: sessionmaker[Session], caller: Caller, request: dict[str, Any], answer: dict[str, Any]
) -> bool:
    """Store a chat's request and its whole answer, and return whether they are stored.

    They are not if the project has no room. This is not an error, as the client gets the answer anyway. It is
    none either if the database cannot be reached.
    """
    if not TIMED_ID.fullmatch(answer["id"]):
        log.warning("completion_not_stored", error=f"the id {answer['id']} does not begin with a time")
        return False
    completion = StoredCompletion(
        id=answer["id"],
        project_id=caller.project_id,
        model=answer["model"],
        request={name: value for name, value in request.items() if name not in NOT_KEPT},
        answer=answer,
        prompt_sha256=prompt_sha256(request["messages"]),
        client_metadata=request.get("metadata") or {},
        request_id=caller.request_id,
    )
    try:
        with sessions.begin() as session:
            kept = stored_completions.keep(session, completion, caller.quotas.completion_bytes)
    except SQLAlchemyError as error:
        log.warning("completion_not_stored", error=str(error))
        return False
    if not kept:
        log.info("completion_not_stored", error="the project has no room for it")
    return kept


def get(session: Session, caller: Caller, completion_id: str, *, lock: bool = False) -> StoredCompletion:
    """Return a stored completion. Raises NotFound, also for a completion of another project."""
    stored = queries.find(session, caller.project_id, completion_id, lock=lock)
    if stored is None:
        off = caller.quotas.completion_bytes == 0
        why = " This project stores no completions: its quota 'completion_bytes' is 0." if off else ""
        raise NotFound(
            f"No stored completion has the id {completion_id}.{why}",
            code="completion_not_found",
            param="completion_id",
        )
    return stored


def list_page(
    session: Session, caller: Caller, selection: Selection, after: str | None, limit: int, order: str
) -> tuple[list[StoredCompletion], bool]:
    check_cursor(after, COMPLETION_ID)
    return queries.page(
        session, caller.project_id, selection, after=after, limit=limit, newest_first=order == "desc"
    )


def messages(
    stored: StoredCompletion, after: str | None, limit: int, order: str
) -> tuple[list[StoredMessage], bool]:
    """Return a page of the request's messages, and whether more follow. Raises InvalidRequest."""
    check_cursor(after, re.compile(rf"{re.escape(stored.id)}-[0-9]{{1,9}}"))
    numbered = [
        StoredMessage.of(stored.id, index, message)
        for index, message in enumerate(stored.request["messages"])
    ]
    if order == "desc":
        numbered.reverse()
    if after is not None:
        last = int(after.rpartition("-")[2])
        begin = last + 1 if order == "asc" else len(numbered) - last
        numbered = numbered[max(begin, 0) :]
    return numbered[:limit], len(numbered) > limit


def set_metadata(
    session: Session, caller: Caller, completion_id: str, metadata: dict[str, str]
) -> StoredCompletion:
    """Replace the metadata of a completion, and return it. Raises NotFound and QuotaExceeded."""
    stored = get(session, caller, completion_id, lock=True)
    stored.client_metadata = metadata
    return _changed(session, caller, stored)


def rate(session: Session, caller: Caller, completion_id: str, asked: RateCompletion) -> StoredCompletion:
    """Replace the rating of a completion, and return it. Raises NotFound and QuotaExceeded."""
    stored = get(session, caller, completion_id, lock=True)
    stored.rating, stored.corrected_answer = asked.rating, asked.corrected_answer
    is_rated = (asked.rating, asked.corrected_answer) != (None, None)
    stored.rated_at = func.now() if is_rated else None
    return _changed(session, caller, stored)


def delete(session: Session, caller: Caller, completion_id: str) -> None:
    """Delete a stored completion. Raises NotFound."""
    get(session, caller, completion_id, lock=True)
    stored_completions.remove(session, caller.project_id, StoredCompletion.id == completion_id)
    audit.record(session, caller, "completion.deleted", completion_id)


def _changed(session: Session, caller: Caller, stored: StoredCompletion) -> StoredCompletion:
    if not stored_completions.resize(session, stored, caller.quotas.completion_bytes):
        raise QuotaExceeded(
            f"This project may store {caller.quotas.completion_bytes} bytes of completions, and the change "
            "does not fit. Delete stored completions, or ask the operator for a larger quota."
        )
    session.refresh(stored)
    return stored
