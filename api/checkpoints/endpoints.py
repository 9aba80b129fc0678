"""/v1/fine_tuning/checkpoints/…/permissions: share a fine-tuned model or a checkpoint with other projects.

Who has a permission sees the name among the models. For a whole model, `adapter_id` there leads to the
adapter, to read and to download; a checkpoint's weights are its owner's alone. Only the owner deletes.

A name may hold slashes, since a project's name may: hence `:path`.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from api.checkpoints import service
from api.checkpoints.schemas import CreatePermissions, PermissionDeleted, PermissionObject
from api.dependencies import Transaction
from api.http.auth import AdminCaller
from api.http.errors import declared
from api.http.paging import After
from api.http.strict_json import StrictJsonRoute
from api.schemas import Page
from core.access import audit
from core.errors import (
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    TooLarge,
    Unavailable,
)

MAX_LIMIT = 1000

router = APIRouter(
    prefix="/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions",
    tags=["Checkpoint permissions"],
    route_class=StrictJsonRoute,
    responses=declared(NotAuthenticated, PermissionDenied, NotFound, Unavailable),
)


@router.post("", responses=declared(InvalidRequest, TooLarge))
def create_permissions(
    session: Transaction, caller: AdminCaller, fine_tuned_model_checkpoint: str, body: CreatePermissions
) -> Page[PermissionObject]:
    """Let other projects see it among their models and, for a whole model, download its adapter.

    It takes an administrator's key of the project that owns it.
    """
    permissions = service.share(session, caller.project_id, fine_tuned_model_checkpoint, body.project_ids)
    audit.record(
        session, caller, "checkpoint.shared", fine_tuned_model_checkpoint, {"projects": body.project_ids}
    )
    return Page.of([PermissionObject.of(permission) for permission in permissions], has_more=False)


@router.get("", responses=declared(InvalidRequest))
def list_permissions(
    session: Transaction,
    caller: AdminCaller,
    fine_tuned_model_checkpoint: str,
    project_id: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=0, le=MAX_LIMIT)] = 10,
    order: Literal["ascending", "descending"] = "descending",
    after: After = None,
) -> Page[PermissionObject]:
    permissions, has_more = service.list_page(
        session,
        caller.project_id,
        fine_tuned_model_checkpoint,
        project_id,
        after,
        limit,
        newest_first=order == "descending",
    )
    return Page.of([PermissionObject.of(permission) for permission in permissions], has_more)


@router.delete("/{permission_id}")
def delete_permission(
    session: Transaction, caller: AdminCaller, fine_tuned_model_checkpoint: str, permission_id: str
) -> PermissionDeleted:
    """The project of the permission does not see it any more."""
    service.withdraw(session, caller.project_id, fine_tuned_model_checkpoint, permission_id)
    details = {"permission": permission_id}
    audit.record(session, caller, "checkpoint.unshared", fine_tuned_model_checkpoint, details)
    return PermissionDeleted(id=permission_id)
