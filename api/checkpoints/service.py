"""Decides which other projects may see a fine-tuned model or a checkpoint. Nothing here commits."""

from functools import partial

from sqlalchemy import Select, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.checkpoints.schemas import PermissionObject
from api.http.paging import shown_page
from api.models import queries as models
from api.models.queries import TunedModel
from api.schemas import Page, from_row
from core.errors import InvalidRequest, NotFound
from core.ids import id_pattern, new_id
from core.tables import CheckpointPermission, Project

PERMISSION_ID = id_pattern("cp_")


def share(session: Session, project_id: str, name: str, project_ids: list[str]) -> list[CheckpointPermission]:
    """Share a model or checkpoint, and return the permissions. Sharing twice changes nothing.

    Raises NotFound, and InvalidRequest for an unknown project, and for a model that no job has trained.
    """
    model = _own(session, project_id, name)
    if model.job_id is None:
        raise InvalidRequest(
            f"'{name}' was imported or composed, and cannot be shared. Download it, and import it in the "
            "other project too.",
            code="model_not_shareable",
            param="fine_tuned_model_checkpoint",
        )
    missing = set(project_ids) - set(session.scalars(select(Project.id).where(Project.id.in_(project_ids))))
    if missing:
        raise InvalidRequest(
            f"No such project: {min(missing)}. Nothing was shared.",
            code="project_not_found",
            param="project_ids",
        )
    rows = [
        {
            "id": new_id("cp_"),
            "job_id": model.job_id,
            "step": model.step,
            "model": name,
            "project_id": grantee,
        }
        for grantee in dict.fromkeys(project_ids)
    ]
    session.execute(insert(CheckpointPermission).values(rows).on_conflict_do_nothing())
    of_projects = _of_model(name).where(CheckpointPermission.project_id.in_(project_ids))
    return list(session.scalars(of_projects.order_by(CheckpointPermission.id)))


def list_page(
    session: Session,
    project_id: str,
    name: str,
    grantee: str | None,
    after: str | None,
    limit: int,
    *,
    newest_first: bool,
) -> Page[PermissionObject]:
    """Return a page of permissions. Raises NotFound and InvalidRequest."""
    _own(session, project_id, name)
    query = _of_model(name)
    if grantee is not None:
        query = query.where(CheckpointPermission.project_id == grantee)
    return shown_page(
        session,
        query,
        CheckpointPermission.id,
        partial(from_row, PermissionObject),
        ids=PERMISSION_ID,
        after=after,
        limit=limit,
        newest_first=newest_first,
    )


def withdraw(session: Session, project_id: str, name: str, permission_id: str) -> None:
    """Delete a permission. Raises NotFound."""
    _own(session, project_id, name)
    deleted = session.execute(
        delete(CheckpointPermission)
        .where(CheckpointPermission.id == permission_id, CheckpointPermission.model == name)
        .returning(CheckpointPermission.id)
    )
    if deleted.one_or_none() is None:
        raise NotFound(
            f"No such permission: {permission_id}", code="permission_not_found", param="permission_id"
        )


def _of_model(name: str) -> Select[CheckpointPermission]:
    return select(CheckpointPermission).where(CheckpointPermission.model == name)


def _own(session: Session, project_id: str, name: str) -> TunedModel:
    """Return a model or checkpoint that the project owns.

    Raises NotFound, also for one that is shared with the project: only its owner can share it.
    """
    model = models.find(session, name)
    if model is None or model.project_id != project_id:
        raise NotFound(
            f"No such fine-tuned model or checkpoint: {name}",
            code="checkpoint_not_found",
            param="fine_tuned_model_checkpoint",
        )
    return model
