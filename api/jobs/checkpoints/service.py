"""Finds the checkpoints that a client may read, and reads their weights. Nothing here commits."""

from collections.abc import Iterator

from sqlalchemy.orm import Session

from api.http.archive import stored_folder, zipped
from api.http.paging import unknown_cursor
from api.jobs.checkpoints import queries
from api.jobs.service import own_job
from core.errors import NotFound
from core.jobs import lifecycle
from core.storage.file_names import POSITION_NAME, STATE_NAME
from core.storage.object_store import ObjectStore
from core.tables import Checkpoint


def list_page(
    session: Session, project_id: str, job_id: str, after: str | None, limit: int
) -> tuple[str, list[Checkpoint], bool]:
    """Return the name of the job's model, a page of its checkpoints, and whether more follow.

    Raises NotFound, and InvalidRequest if `after` is not a checkpoint of the job.
    """
    job = own_job(session, project_id, job_id)
    step = None
    if after is not None:
        step = queries.step_of(session, job.id, after)
        if step is None:
            raise unknown_cursor(after)
    found, has_more = queries.page(session, job.id, after=step, limit=limit)
    return lifecycle.fine_tuned_model_name(session, job), found, has_more


def get(session: Session, project_id: str, job_id: str, checkpoint_id: str) -> Checkpoint:
    """Return the checkpoint. Raises NotFound, also for a checkpoint that only serves to resume the job."""
    found = queries.find(session, own_job(session, project_id, job_id).id, checkpoint_id)
    if found is None:
        raise NotFound(
            f"No such checkpoint: {checkpoint_id[:128]}. A job keeps the checkpoints of its last three "
            "epochs and the best one, or those of its three best validations if it samples its answers. List "
            "them to get their ids.",
            code="checkpoint_not_found",
            param="checkpoint_id",
        )
    return found


def read_weights(store: ObjectStore, checkpoint: Checkpoint) -> Iterator[bytes]:
    """Return the adapter or the whole model as a zip. Raises NotFound before the first byte."""
    files = [entry for entry in checkpoint.files if entry["name"] not in (STATE_NAME, POSITION_NAME)]
    read = stored_folder(store, checkpoint.object_prefix, files)
    return zipped(((entry["name"], read(entry["name"])) for entry in files), checkpoint.created_at)
