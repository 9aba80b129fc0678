"""Looks again whether the project may read a model: a run may end long after its request was checked."""

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from core.serving.served_model import StoredAdapter
from core.tables import Adapter, Artifact, Checkpoint, CheckpointPermission

Permission = CheckpointPermission


def may_read(session: Session, project_id: str, adapter: StoredAdapter) -> bool:
    """Return whether the files are there, and are the project's own or shared with it.

    The permission of a model opens its adapter, and that of a checkpoint opens the checkpoint alone.
    """
    shared = select(Permission.id).where(Permission.project_id == project_id)
    of_model = shared.join(Adapter, Adapter.job_id == Permission.job_id).where(
        Permission.step.is_(None), Artifact.owner_kind == "adapter", Adapter.id == Artifact.owner_id
    )
    of_checkpoint = shared.join(Checkpoint, Checkpoint.job_id == Permission.job_id).where(
        Permission.step == Checkpoint.step,
        Checkpoint.job_id == Artifact.owner_id,
        Checkpoint.object_prefix == Artifact.prefix,
    )
    readable = or_(Artifact.project_id == project_id, of_model.exists(), of_checkpoint.exists())
    kept = Artifact.prefix == adapter.prefix, Artifact.state == "kept"
    return session.scalar(select(Artifact.id).where(*kept, readable)) is not None
