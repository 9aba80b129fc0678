"""Stored chat completions and the bytes that they take of their project's quota.

Nothing else adds or removes rows, so that the count of bytes stays right. The count is a row of its own:
adding up a hundred thousand completions for each new one would take longer than many an answer.
"""

import hashlib
import json
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.tables import CompletionBytes, StoredCompletion

ID_PREFIX = "chatcmpl-"
MAX_BYTES = 2 * 1024**2  # of one completion: a longer one is not stored
REMOVED_AT_ONCE = 500


def keep(session: Session, completion: StoredCompletion, most: int) -> bool:
    """Add a completion, and return whether it was added.

    It is not if it is too long, or if the project would then hold more than `most` bytes.
    """
    completion.bytes = size_of(completion)
    if completion.bytes > MAX_BYTES or not _count(session, completion.project_id, completion.bytes, most):
        return False
    session.add(completion)
    session.flush()
    return True


def resize(session: Session, completion: StoredCompletion, most: int) -> bool:
    """Count a changed completion's bytes again, and return whether the project has room for them."""
    grown = size_of(completion) - completion.bytes
    if grown and not _count(session, completion.project_id, grown, most):
        return False
    completion.bytes += grown
    session.flush()
    return True


def remove(session: Session, project_id: str, *conditions: ColumnElement[bool]) -> int:
    """Delete up to REMOVED_AT_ONCE of the project's completions, and return how many it deleted."""
    chosen = select(StoredCompletion.id).where(StoredCompletion.project_id == project_id, *conditions)
    batch = chosen.limit(REMOVED_AT_ONCE).with_for_update(skip_locked=True)
    deleted = delete(StoredCompletion).where(StoredCompletion.id.in_(batch))
    sizes = session.scalars(deleted.returning(StoredCompletion.bytes)).all()
    if sizes:
        _count(session, project_id, -sum(sizes), most=0)
    return len(sizes)


def prompt_sha256(messages: list[dict[str, Any]]) -> str:
    """Return the hash by which other answers to the same messages are found."""
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()


def size_of(completion: StoredCompletion) -> int:
    """Return the bytes of all that a client can make large."""
    parts = completion.request, completion.answer, completion.client_metadata
    return sum(len(json.dumps(part)) for part in parts) + len((completion.corrected_answer or "").encode())


def _count(session: Session, project_id: str, grown: int, most: int) -> bool:
    """Add to the project's bytes, and return whether they fit. What shrinks always fits."""
    total = CompletionBytes.bytes + grown
    if grown <= 0:
        shrunk = update(CompletionBytes).where(CompletionBytes.project_id == project_id)
        session.execute(shrunk.values(bytes=total))
        return True
    if grown > most:
        return False
    first = insert(CompletionBytes).values(project_id=project_id, bytes=grown)
    counted = first.on_conflict_do_update(
        index_elements=[CompletionBytes.project_id], set_={"bytes": total}, where=total <= most
    )
    return session.scalar(counted.returning(CompletionBytes.bytes)) is not None
