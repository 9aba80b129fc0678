"""The ledger of what is stored: each byte in the object store belongs to a row that was there before it.

A writer opens an artifact in a short transaction of its own, which checks the writer's lease if it has one.
It writes under the artifact's prefix, and keeps the artifact in the transaction that makes the result exist.
Deletion dooms artifacts in its transaction. The janitor (`worker/supervisor/emptying.py`) empties every
artifact whose end has come: those that are doomed, and those whose writer has died. Apart from a writer,
which may remove what it has just written, nothing else removes objects.

Every function works in the caller's transaction.
"""

import json
from collections.abc import Collection
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, case, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.errors import OutsideFault
from core.ids import new_id
from core.tables import Artifact

GRACE = timedelta(minutes=10)  # for which a request or a trainer may go on after the end of what it works on
LONGEST_WORK = timedelta(days=30)  # no lease lasts so long; the end of a job or a task comes first
LONGEST_REQUEST = timedelta(days=1)  # no request writes for so long

# A writer may be frozen, and write again long after its artifact was emptied. So what was never kept is
# emptied three times: at its end, after six hours and after thirty days. Then its row goes.
ROUNDS = 3
PAUSES = {2: timedelta(hours=6), 1: timedelta(days=30)}

WRITING = Artifact.state == "writing"
NOT_DOOMED = Artifact.state != "doomed"


class Owner(NamedTuple):
    """What the bytes belong to: one of ARTIFACT_OWNERS, and the id of its row."""

    kind: str
    id: str


def open(
    session: Session,
    owner: Owner,
    prefix: str,
    project_id: str | None,
    *,
    announced: int = 0,
    counted: bool = True,
    lasts: timedelta = LONGEST_WORK,
) -> None:
    """Add the artifact of a writer that is about to begin. A second call changes nothing.

    The `announced` bytes count until the artifact is kept. It is emptied if it is not kept while it `lasts`.
    """
    row = insert(Artifact).values(
        id=new_id("artifact-"),
        project_id=project_id,
        owner_kind=owner.kind,
        owner_id=owner.id,
        prefix=prefix,
        state="writing",
        bytes=announced,
        counted=counted,
        rounds=ROUNDS,
        expires_at=func.now() + lasts,
    )
    session.execute(row.on_conflict_do_nothing(index_elements=[Artifact.prefix]))


def keep(session: Session, prefix: str, size: int, owner: Owner | None = None) -> None:
    """Keep what was written, of `size` bytes, for its owner or for another one. Raises OutsideFault.

    It fails if the janitor has emptied the artifact meanwhile. A second call changes nothing.
    """
    if not _changed(session, prefix, owner, state="kept", bytes=size, rounds=1, expires_at=None):
        raise OutsideFault(f"What was written under {prefix} was removed before it was complete")


def give(session: Session, prefix: str, owner: Owner) -> None:
    """Give an artifact that is kept to another owner."""
    _changed(session, prefix, owner)


def hold(
    session: Session, owner: Owner, project_id: str, *contents: Any, lasts: timedelta | None = None
) -> None:
    """Count what Postgres itself holds of the owner: these values as JSON. A later call replaces it.

    It counts until it is deleted, or for as long as it `lasts`.
    """
    size = sum(len(json.dumps(content, default=str).encode()) for content in contents)
    until = {"state": "kept"} if lasts is None else {"state": "writing", "expires_at": func.now() + lasts}
    values = {"id": new_id("artifact-"), "project_id": project_id, "rounds": 1, **until}
    row = insert(Artifact).values(owner_kind=owner.kind, owner_id=owner.id, bytes=size, **values)
    held = row.on_conflict_do_update(
        index_elements=[Artifact.owner_kind, Artifact.owner_id],
        index_where=Artifact.prefix.is_(None),
        set_={"bytes": size},
    )
    session.execute(held)


def count(session: Session, prefix: str, size: int) -> None:
    """Let an artifact that is still written count with so many bytes."""
    _changed(session, prefix, None, bytes=size)


def count_alone(session: Session, owner: Owner, prefix: str, size: int) -> None:
    """Let an artifact count with so many bytes before they are written, and the owner's earlier ones no more.

    Those are what earlier attempts at the same work were writing.
    """
    writing = update(Artifact).where(of(owner.kind, [owner.id]), WRITING)
    session.execute(writing.values(bytes=case((Artifact.prefix == prefix, size), else_=0)))


def end(session: Session, prefix: str, size: int) -> None:
    """Let an artifact that will not be kept count with so many bytes until it is emptied, after GRACE."""
    _changed(session, prefix, None, bytes=size, expires_at=func.now() + GRACE)


def doom(session: Session, *which: ColumnElement[bool], grace: timedelta = timedelta()) -> None:
    """Let the janitor empty these artifacts after the `grace`. They count no more from now on."""
    doomed = update(Artifact).where(NOT_DOOMED, *which)
    session.execute(doomed.values(state="doomed", expires_at=func.now() + grace))


def of(kind: str, ids: "Collection[str] | Select[str]") -> ColumnElement[bool]:
    """Return the condition that an artifact belongs to one of these owners."""
    return (Artifact.owner_kind == kind) & Artifact.owner_id.in_(ids)


def stored_bytes(session: Session, project_id: str) -> int:
    """Return how many bytes of the project count for its quota.

    Checkpoints and the adapters of jobs are not counted: a job must not fail for what it has trained.
    """
    counted = Artifact.project_id == project_id, Artifact.counted, NOT_DOOMED
    return int(session.scalars(select(func.coalesce(func.sum(Artifact.bytes), 0)).where(*counted)).one())


def _changed(session: Session, prefix: str, owner: Owner | None, **values: Any) -> bool:
    """Change an artifact that is not doomed. Return whether there is one."""
    if owner is not None:
        values |= {"owner_kind": owner.kind, "owner_id": owner.id}
    changed = update(Artifact).where(Artifact.prefix == prefix, NOT_DOOMED).values(**values)
    return session.scalars(changed.returning(Artifact.id)).one_or_none() is not None
