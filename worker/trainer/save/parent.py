"""Fetches the adapter from which a job continues."""

from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError

from core.errors import JobError
from core.jobs.ancestor import Ancestor
from core.serving.served_model import StoredAdapter
from core.storage.file_names import DamagedFile
from core.storage.folders import fetch_folder
from core.storage.object_store import ObjectStore
from worker.adapter_files.stored_parent import stored_parent
from worker.engine.adapters.published import Published, read_published
from worker.process.faults import disk_fault
from worker.trainer.report.job_lease import JobLease


def fetch_parent(parent: Ancestor, job_lease: JobLease, store: ObjectStore, folder: Path) -> Published:
    """Return the tensors of the parent's files, and report that the job begins with them.

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
    stored = StoredAdapter.of(row.object_prefix, row.files)
    try:
        with TemporaryDirectory(dir=folder) as place:
            fetch_folder(store, stored.prefix, [file.model_dump() for file in stored.files], Path(place))
            published = read_published(Path(place))
    except (DamagedFile, SafetensorError, FileNotFoundError) as error:
        if disk_fault(error):
            raise
        raise JobError(
            "model_damaged",
            f"The stored adapter of {parent.model}, from which this job continues, is damaged: {error}. "
            "Create a job on another model.",
            "model",
        ) from error
    job_lease.event(f"The job begins with the weights of {parent.model}", once_as="begins with")
    return published
