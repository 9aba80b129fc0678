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
    stored = job_lease.commit(lambda session: _find(session, parent))
    if stored is None or stored.sha256 != parent.sha256:
        raise JobError(
            "model_deleted",
            f"The model {parent.model}, from which this job continues, has been deleted. "
            "Create a job on another model.",
            "model",
        )
    weights = [file.model_dump() for file in stored.files if file.name == WEIGHTS_NAME]
    try:
        with TemporaryDirectory(dir=folder) as place:
            fetch_folder(store, stored.prefix, weights, Path(place))
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


def _find(session: Session, parent: Ancestor) -> StoredAdapter | None:
    """Return where the parent's files lie, or None if it has been deleted."""
    if parent.adapter_id is not None:
        adapter = session.get(Adapter, parent.adapter_id)
        if adapter is None or adapter.deleted_at is not None:
            return None
        return StoredAdapter.of(adapter.object_prefix, adapter.files)
    of_step = select(Checkpoint).where(Checkpoint.job_id == parent.job_id, Checkpoint.step == parent.step)
    checkpoint = session.scalars(of_step).one_or_none()
    return StoredAdapter.of(checkpoint.object_prefix, checkpoint.files) if checkpoint else None
