"""Decides which other projects may see a fine-tuned model or a checkpoint. Nothing here commits."""

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.checkpoints import queries
from api.http.paging import check_cursor
from api.models import queries as models
from api.models.queries import TunedModel
from core.errors import InvalidRequest, NotFound
from core.ids import id_pattern, new_id
from core.tables import CheckpointPermission

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
    missing = set(project_ids) - queries.existing_projects(session, project_ids)
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
    return queries.of_projects(session, name, project_ids)


def list_page(
    session: Session,
    project_id: str,
    name: str,
    grantee: str | None,
    after: str | None,
    limit: int,
    *,
    newest_first: bool,
) -> tuple[list[CheckpointPermission], bool]:
    """Return a page of permissions, and whether more follow. Raises NotFound and InvalidRequest."""
    _own(session, project_id, name)
    check_cursor(after, PERMISSION_ID)
    return queries.page(session, name, grantee, after=after, limit=limit, newest_first=newest_first)


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
