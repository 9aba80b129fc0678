"""Fetches the adapter from which a job continues."""

from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError
from safetensors.torch import load_file
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import JobError
from core.jobs.lineage import Ancestor
from core.serving.served_model import StoredAdapter
from core.storage.artifacts import WEIGHTS_NAME, DamagedArtifact, fetch_folder
from core.storage.object_store import ObjectStore
from core.tables import Adapter, Checkpoint
from worker.engine.adapters.adapter import InitialValues
from worker.engine.adapters.saving import parameters_of
from worker.process.faults import disk_fault
from worker.report.job_lease import JobLease


def fetch_parent(parent: Ancestor, job_lease: JobLease, store: ObjectStore, folder: Path) -> InitialValues:
    """Return the parent's parameters, by their names in the adapter that continues from it.

    Raises JobError if the parent has been deleted, or if its stored files are damaged.
    """
    row = job_lease.commit(lambda session: stored_parent(session, parent))
    if row is None:
        raise JobError(
            "model_deleted",
            f"The model {parent.model}, from which this job continues, has been deleted. "
            "Create a job on another model.",
            "model",
        )
    weights = [file for file in row.files if file["name"] == WEIGHTS_NAME]
    try:
        with TemporaryDirectory(dir=folder) as place:
            fetch_folder(store, row.object_prefix, weights, Path(place))
            tensors = load_file(Path(place) / WEIGHTS_NAME)
    except (DamagedArtifact, SafetensorError, FileNotFoundError) as error:
        if disk_fault(error):
            raise
        raise JobError(
            "model_damaged",
            f"The stored adapter of {parent.model}, from which this job continues, is damaged: {error}. "
            "Create a job on another model.",
            "model",
        ) from error
    return parameters_of(tensors)


def stored_parent(session: Session, parent: Ancestor) -> Adapter | Checkpoint | None:
    """Return the row with the parent's files, or None if the parent has been deleted or replaced."""
    row: Adapter | Checkpoint | None
    if parent.adapter_id is not None:
        row = session.get(Adapter, parent.adapter_id)
        if row is not None and row.deleted_at is not None:
            return None
    else:
        of_step = Checkpoint.job_id == parent.job_id, Checkpoint.step == parent.step
        row = session.scalars(select(Checkpoint).where(*of_step)).one_or_none()
    if row is None or StoredAdapter.of(row.object_prefix, row.files).sha256 != parent.sha256:
        return None
    return row
