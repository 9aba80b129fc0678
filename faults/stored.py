"""Checks that the ledger, the rows and the object store say the same of what is stored."""

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from core.storage.object_store import ObjectStore
from core.tables import Adapter, Artifact, Checkpoint, Eval, File, Job, Project, Task, Upload

# The owners of keys, which name one of them behind their first slash
OWNERS: Sequence[Select[str]] = [select(table.id) for table in (Job, Project, Task, Upload)]
PRESENT_JOBS = select(Job.id).where(Job.deleted_at.is_(None))
# The owners that are still there, by their kind. What a job keeps are its checkpoints
PRESENT: dict[str, Select[str]] = {
    kind: select(table.id).where(table.deleted_at.is_(None))
    for kind, table in (("adapter", Adapter), ("eval", Eval), ("file", File), ("task", Task))
}


def not_as_in_the_ledger(session: Session, store: ObjectStore) -> Iterable[str]:
    """Yield a sentence for each difference. Between two looks, a janitor may be at work."""
    found = _differences(session, store)
    session.rollback()
    if found:
        yield from sorted(found & _differences(session, store))


def _differences(session: Session, store: ObjectStore) -> set[str]:
    objects = store.list("")
    ledger = {
        row.prefix: row for row in session.scalars(select(Artifact).where(Artifact.prefix.is_not(None)))
    }
    ours = {row for query in OWNERS for row in session.scalars(query)}
    found = {
        f"{key} belongs to no artifact"
        for key in objects
        if ours.intersection(key.split("/")[1:2]) and not _artifact_of(key, ledger.keys())
    }
    kept = {row.prefix for row in ledger.values() if row.state == "kept"}
    found |= {f"{key} is needed, and not kept" for key in _needed(session) if not _artifact_of(key, kept)}
    return found | set(_kept_for_nobody(session))


def _artifact_of(key: str, prefixes: Collection[str | None]) -> str | None:
    """Return the artifact's prefix: the key or prefix itself, or a folder above it."""
    parts = key.split("/")
    folders = ("/".join(parts[:depth]) + "/" for depth in range(1, len(parts)))
    return next((each for each in (key, *folders) if each in prefixes), None)


def _needed(session: Session) -> set[str]:
    """Return the keys and prefixes that rows name, a measurement's files while an adapter names them."""
    queries: tuple[Select[str | None], ...] = (
        select(Checkpoint.object_prefix)
        .join(Job, Job.id == Checkpoint.job_id)
        .where(Job.deleted_at.is_(None)),
        select(Adapter.object_prefix).where(Adapter.deleted_at.is_(None)),
        select(File.object_key).where(File.deleted_at.is_(None)),
        select(Task.object_prefix).where(Task.deleted_at.is_(None), Task.kind != "portability"),
    )
    named = {prefix for query in queries for prefix in session.scalars(query) if prefix is not None}
    cards = session.scalars(select(Adapter.files).where(Adapter.deleted_at.is_(None)))
    keys = [entry["key"] for files in cards for entry in files if "key" in entry]
    return named | {key.rpartition("/")[0] + "/" for key in keys}


def _kept_for_nobody(session: Session) -> Iterable[str]:
    kept = Artifact.state == "kept"
    for kind, present in PRESENT.items():
        gone = select(Artifact).where(kept, Artifact.owner_kind == kind, Artifact.owner_id.not_in(present))
        for row in session.scalars(gone):
            yield f"{row.prefix} of the {kind} {row.owner_id} is kept, and its owner is gone"
    checkpoints = select(Checkpoint.object_prefix)
    of_jobs = select(Artifact).where(
        kept,
        Artifact.owner_kind == "job",
        Artifact.prefix.is_not(None),  # that of the request has none
        Artifact.prefix.not_in(checkpoints),
    )
    for row in session.scalars(of_jobs):
        yield f"{row.prefix} is kept, and {row.owner_id} has no checkpoint there"
