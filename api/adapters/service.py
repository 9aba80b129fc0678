"""Reads and deletes adapters, and reads their files. Nothing here commits."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from api.adapters import queries
from api.adapters.aliases import refuse_if_aliased
from api.adapters.schemas import (
    AdapterObject,
    DescendantObject,
)
from api.adapters.truncation import truncated_members
from api.http import downloads
from api.http.archive import stored_folder, zipped
from api.http.paging import check_cursor
from api.schemas import from_row
from core import artifacts
from core.errors import InvalidRequest, NotFound
from core.ids import id_pattern
from core.jobs.adapter_row import AdapterRow
from core.jobs.lineage import continues_from, refuse_if_continued
from core.methods.registry import METHODS
from core.storage.object_store import ObjectStore
from core.tables import Adapter, Job, Task
from core.work import client as tasks

ADAPTER_ID = id_pattern("adapter-")
JOB_ID = id_pattern("ftjob-")


def get(session: Session, project_id: str, adapter_id: str) -> AdapterRow:
    """Return an adapter that the project may read.

    Raises NotFound, also for an adapter of another project that does not share its model.
    """
    row = queries.find(session, project_id, adapter_id)
    if row is None:
        raise _no_such_adapter(adapter_id)
    return row


def held(session: Session, project_id: str, adapter_id: str, *, alone: bool = False) -> Adapter:
    """Return an adapter that the project may read, and keep it from deletion in this transaction.

    With `alone`, no other transaction holds it so at once. Raises NotFound.
    """
    adapter = get(session, project_id, adapter_id).adapter
    session.refresh(adapter, with_for_update={"key_share": True} if alone else {"read": True})
    if adapter.deleted_at is not None:
        raise _no_such_adapter(adapter_id)
    return adapter


def delete(session: Session, project_id: str, adapter_id: str) -> None:
    """Hide the adapter and its model from everyone. The janitor removes the files later, and the job stays.

    Raises NotFound, also the second time, and Conflict if an alias leads to the model, or if an unfinished
    job continues from it.
    """
    deleted = session.scalars(
        update(Adapter)
        .where(Adapter.id == adapter_id, Adapter.project_id == project_id, Adapter.deleted_at.is_(None))
        .values(deleted_at=func.now())
        .returning(Adapter)
    )
    adapter = deleted.one_or_none()
    if adapter is None:
        raise _no_such_adapter(adapter_id)
    artifacts.doom(session, artifacts.of("adapter", [adapter_id]))
    tasks.delete_all(session, Task.adapter_id == adapter_id)
    job = session.get_one(Job, adapter.job_id) if adapter.job_id else None
    model = AdapterRow(adapter, job).model
    refuse_if_aliased(session, project_id, lambda name: name == model)
    refuse_if_continued(session, project_id, continues_from(adapter_id))


def list_page(
    session: Session, project_id: str, after: str | None, limit: int, part: str | None
) -> tuple[list[AdapterRow], bool]:
    """Return a page of the project's adapters, and whether more follow. Raises InvalidRequest.

    `part` leaves only those that were composed of this adapter.
    """
    check_cursor(after, ADAPTER_ID)
    return queries.page(session, project_id, after=after, limit=limit, part=part)


def list_descendants(
    session: Session, project_id: str, adapter_id: str, after: str | None, limit: int
) -> tuple[list[DescendantObject], bool]:
    """Return a page of the project's jobs that continue from an adapter, and whether more follow.

    Raises NotFound for the adapter, and InvalidRequest for the cursor.
    """
    get(session, project_id, adapter_id)
    check_cursor(after, JOB_ID)
    rows, has_more = queries.descendants(session, project_id, adapter_id, after=after, limit=limit)
    return [_descendant(job, adapter) for job, adapter in rows], has_more


def _descendant(job: Job, adapter: Adapter | None) -> DescendantObject:
    return from_row(
        DescendantObject,
        job,
        job_deleted=job.deleted_at is not None,
        model=job.fine_tuned_model if adapter else None,
        adapter_id=adapter.id if adapter else None,
    )


def describe(row: AdapterRow) -> AdapterObject:
    """Return the adapter as a client reads it."""
    adapter, job = row
    type_ = row.options["type"]
    method = METHODS.get(type_)  # None if only a newer release knows the method
    origin = adapter.origin or {"type": "job"}
    return from_row(
        AdapterObject,
        adapter,
        job_deleted=job is not None and job.deleted_at is not None,
        base_model=row.base_model,
        base_revision=adapter.training["base_revision"],
        model=row.model,
        type=type_,
        kind=method.result if method else "adapter",
        imported=origin if origin["type"] == "import" else None,
        composed=origin if origin["type"] == "composition" else None,
        lineage=row.lineage,
    )


def read_file(store: ObjectStore, adapter: Adapter, name: str) -> tuple[int, Iterator[bytes]]:
    """Return the size of one file in bytes, and its bytes. Raises NotFound for a name that is not listed."""
    owner = f"Adapter {adapter.id}"
    return downloads.listed_file(store, adapter.object_prefix, adapter.files, name, owner)


def ranks(row: AdapterRow) -> list[dict[str, Any]]:
    """Return the losses at fewer ranks, which the worker measures for an adapter with `dynamic_rank` only."""
    measured: list[dict[str, Any]] = row.adapter.training.get("ranks", [])
    return measured


def check_rank(row: AdapterRow, rank: int) -> None:
    """Raise InvalidRequest if the adapter cannot be cut to `rank` ranks."""
    adapter = row.options
    reason = None
    if not adapter.get("dynamic_rank"):
        reason = "only an adapter whose job had 'adapter.dynamic_rank' can be cut; leave 'rank' out"
    elif rank > adapter["r"]:
        reason = f"the adapter has {adapter['r']} ranks; send that number or a smaller one"
    if reason is not None:
        raise InvalidRequest(f"'rank' is {rank}, but {reason}.", code="invalid_value", param="rank")


def read_all(store: ObjectStore, adapter: Adapter, rank: int | None = None) -> Iterator[bytes]:
    """Return all files as a zip, cut to `rank` ranks if a rank is given.

    Raises NotFound before the first byte if a file is missing.
    """
    names = [entry["name"] for entry in adapter.files]
    read = stored_folder(store, adapter.object_prefix, adapter.files)
    if rank is not None:
        return zipped(truncated_members(names, read, rank), adapter.created_at)
    return zipped(((name, read(name)) for name in names), adapter.created_at)


def _no_such_adapter(adapter_id: str) -> NotFound:
    return NotFound(f"No such adapter: {adapter_id}", code="adapter_not_found", param="adapter_id")
