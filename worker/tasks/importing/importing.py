"""Does one import: fetches the file, has it read in a process of its own, and makes the adapter's row.

Nothing here imports torch, which takes seconds: only the process that reads the file needs it.
"""

import hashlib
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.access import audit
from core.access.audit import Actor
from core.imports import ImportRequest
from worker.process.scratch import scratch_folder
from worker.tasks.frame.work import Work
from worker.tasks.importing.limited_process import Order, read_in_a_process
from worker.tasks.importing.refusal import refusal
from worker.tasks.offered_base import offered_base


def import_adapter(work: Work, folder: Path) -> dict[str, Any]:
    """Write the adapter's files into the folder. Raises JobError if the file is refused."""
    request: ImportRequest = work.request
    entry, base, base_sha256 = offered_base(work, request.base_model)
    with scratch_folder("import") as scratch:
        work.progress("fetching the file", 0.1)
        _fetch(work, request, scratch / "file")
        work.progress("reading the file", 0.2)
        order = Order(
            request=request,
            entry=entry,
            base=base,
            base_sha256=base_sha256,
            adapter=folder,
            max_bytes=work.settings.max_adapter_bytes,
        )
        found = read_in_a_process(order, scratch)
    origin = {
        "type": "import",
        "format": found.format,
        "filename": request.filename,
        "sha256": request.sha256,
        "key_id": request.key_id or "",
        "key_name": request.key_name or "",
    }
    work.make_adapter(
        request.base_model, request.suffix, options=found.options, origin=origin, facts=found.facts
    )
    return {}


def write_to_audit_log(session: Session, work: Work) -> None:
    """Say who has imported the adapter, in the transaction in which it begins to exist."""
    request: ImportRequest = work.request
    assert work.made is not None
    actor = Actor(work.task.project_id, request.key_id, request.request_id)
    details = {"file": request.filename, "sha256": request.sha256}
    audit.record(session, actor, "adapter.imported", work.made.id, details)


def _fetch(work: Work, request: ImportRequest, path: Path) -> None:
    """Write the client's file to the disk. Raises JobError if it is not what was uploaded."""
    digest = hashlib.sha256()
    try:
        with path.open("wb") as file:
            for chunk in work.store.read(request.object_key):
                digest.update(chunk)
                file.write(chunk)
                work.advance()
    except FileNotFoundError:
        digest = hashlib.sha256()
    if digest.hexdigest() != request.sha256:
        raise refusal(
            "damaged_file", "The stored content of the file is not what was uploaded. Upload it again."
        )
