"""What the database says of the objects: the artifacts that are there, and the hashes that rows name."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from core.storage.folders import object_key
from core.tables import Adapter, Artifact, Checkpoint, File, Job, Task

LONGEST_TRANSACTION = timedelta(minutes=10)
"""No transaction of ours takes so long: a deletion notes the time at which its transaction began."""
PRESENT = or_(
    Artifact.state == "kept",
    and_(Artifact.state == "writing", Artifact.owner_kind == "upload"),  # the parts that a client has sent
)


def belongs(session: Session, since: datetime | None = None) -> Callable[[str], bool]:
    """Return a function that says whether a key belongs to an artifact that is there.

    With `since`, it also takes those whose deletion was committed since that time.
    """
    wanted = PRESENT
    if since is not None:
        begun = since - LONGEST_TRANSACTION
        wanted = or_(PRESENT, and_(Artifact.state == "doomed", Artifact.expires_at >= begun))
    prefixes = set(session.scalars(select(Artifact.prefix).where(Artifact.prefix.is_not(None), wanted)))

    def is_there(key: str) -> bool:
        parts = key.split("/")
        folders = ("/".join(parts[:depth]) + "/" for depth in range(1, len(parts)))
        return any(each in prefixes for each in (key, *folders))

    return is_there


def hashes(session: Session) -> dict[str, str]:
    """Return the SHA-256 of each object that a row names, by its key."""
    files = select(File.object_key, File.sha256).where(File.deleted_at.is_(None))
    return dict(session.execute(files).tuples().all()) | dict(_of_folders(session))


def _of_folders(session: Session) -> Iterator[tuple[str, str]]:
    checkpoints = select(Checkpoint.object_prefix, Checkpoint.files).join(Job, Job.id == Checkpoint.job_id)
    for query in (
        checkpoints.where(Job.deleted_at.is_(None)),
        select(Adapter.object_prefix, Adapter.files).where(Adapter.deleted_at.is_(None)),
        # The adapter's list names the card of its last measurement. Earlier ones are gone, their rows stay
        select(Task.object_prefix, Task.files).where(
            Task.deleted_at.is_(None), Task.object_prefix.is_not(None), Task.kind != "portability"
        ),
    ):
        yield from _of(session.execute(query))


def _of(rows: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for prefix, entries in rows:
        for entry in entries:
            yield object_key(prefix, entry), entry["sha256"]
