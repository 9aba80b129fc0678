"""Looks up what an import names, and registers the imported adapter. Nothing here commits."""

from typing import NamedTuple

from sqlalchemy.orm import Session

from api.files import queries as files
from api.files.service import names_no_file
from api.imports.schemas import ImportAdapter
from core import artifacts
from core.access.audit import Actor
from core.artifacts import LONGEST_REQUEST, Owner
from core.catalog import Catalog
from core.errors import InvalidRequest, TooLarge
from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.adapter_row import AdapterRow
from core.serving.imports import Imported, ImportOrder
from core.storage.object_store import imported_adapter_prefix
from core.tables import Adapter, ApiKey


class NewImport(NamedTuple):
    """An adapter that is to be imported: its id, and what the server is told."""

    adapter_id: str
    order: ImportOrder


def prepare(
    session: Session, project_id: str, catalog: Catalog, max_bytes: int, request: ImportAdapter
) -> NewImport:
    """Return the import. Raises InvalidRequest and TooLarge."""
    if catalog.get(request.base_model) is None:
        raise InvalidRequest(
            f"The model {request.base_model[:128]!r} is not a base model of this server. On offer: "
            f"{', '.join(entry.id for entry in catalog)}.",
            code="model_not_available",
            param="base_model",
        )
    file = files.find(session, project_id, request.file)
    if file is None:
        raise names_no_file(request.file, "file")
    if file.bytes > max_bytes:
        raise TooLarge(
            f"The file has {file.bytes:,} bytes; an adapter may have {max_bytes:,} on this server.",
            code="adapter_too_large",
            param="file",
        )
    adapter_id = new_id("adapter-")
    order = ImportOrder(
        base=request.base_model,
        key=file.object_key,
        bytes=file.bytes,
        sha256=file.sha256,
        filename=file.filename,
        prefix=imported_adapter_prefix(project_id, adapter_id),
        lora_alpha=request.lora_alpha,
        r=request.r,
        enable_lora=request.enable_lora,
    )
    return NewImport(adapter_id, order)


def open_content(session: Session, project_id: str, new: NewImport) -> None:
    """Open the artifact of the adapter's files, before a server stores the first one."""
    owner = Owner("adapter", new.adapter_id)
    artifacts.open(session, owner, new.order.prefix, project_id, lasts=LONGEST_REQUEST)


def register(
    session: Session, actor: Actor, new: NewImport, suffix: str | None, stored: Imported
) -> AdapterRow:
    """Add the row of an adapter whose files are in the store already, keep these, and return the row."""
    key = session.get(ApiKey, actor.key_id) if actor.key_id else None
    adapter = Adapter(
        id=new.adapter_id,
        project_id=actor.project_id,
        model=lifecycle.model_name(session, new.order.base, actor.project_id, suffix, new.adapter_id),
        base_model=new.order.base,
        options=stored.options,
        origin={
            "type": "import",
            "format": stored.format,
            "filename": new.order.filename,
            "sha256": new.order.sha256,
            "key_id": key.id if key else "",
            "key_name": key.name if key else "",
        },
        object_prefix=stored.prefix,
        files=[file.model_dump() for file in stored.files],
        training=stored.facts,
    )
    session.add(adapter)
    session.flush()
    session.refresh(adapter)
    artifacts.keep(session, new.order.prefix, sum(file.bytes for file in stored.files))
    return AdapterRow(adapter, None)
