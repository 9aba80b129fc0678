"""/v1/fine_tuning/checkpoints/…/permissions: share a fine-tuned model or a checkpoint with other projects.

A project with a permission sees the name among its models, and may chat with it. If the name is a model's,
its `adapter_id` leads to the adapter, which the project can read, download, continue and compose. The weights
of a checkpoint stay with its owner. Only the owner can delete a model or a checkpoint.

The name of a model may hold slashes, hence the `:path` in the route.
"""

from typing import Annotated, Literal

from fastapi import Query

from api.admission.auth import AdminCaller
from api.checkpoints import service
from api.checkpoints.schemas import CreatePermissions, PermissionDeleted, PermissionObject
from api.dependencies import Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, repeatable
from api.http.paging import After, LongLimit
from api.http.routers import feature
from api.schemas import Page, from_row
from core.access import audit
from core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied, TooLarge

router = feature(
    "/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions",
    "Checkpoint permissions",
    PermissionDenied,
    NotFound,
)


@router.post("", responses=declared(InvalidRequest, TooLarge))
def create_permissions(
    session: Transaction, caller: AdminCaller, fine_tuned_model_checkpoint: str, body: CreatePermissions
) -> Page[PermissionObject]:
    """Share a fine-tuned model or a checkpoint with other projects.

    They see it among their models, and may chat with it. If it is a model, they can also download its
    adapter, continue from it and compose it. The weights of a checkpoint stay with its owner. The request
    needs an administrator's key of the project that owns the model. Sharing with a project again changes
    nothing.
    """
    permissions = service.share(session, caller.project_id, fine_tuned_model_checkpoint, body.project_ids)
    audit.record(
        session, caller, "checkpoint.shared", fine_tuned_model_checkpoint, {"projects": body.project_ids}
    )
    return Page.of([from_row(PermissionObject, permission) for permission in permissions], has_more=False)


@router.get("", responses=declared(InvalidRequest))
def list_permissions(
    session: Transaction,
    caller: AdminCaller,
    fine_tuned_model_checkpoint: str,
    project_id: Annotated[
        str | None, Query(max_length=128, description="Lists the permission of this project only")
    ] = None,
    limit: LongLimit = 10,
    order: Literal["ascending", "descending"] = "descending",
    after: After = None,
) -> Page[PermissionObject]:
    """List the permissions of a fine-tuned model or a checkpoint, by default the newest first.

    The request needs an administrator's key of the project that owns the model.
    """
    return service.list_page(
        session,
        caller.project_id,
        fine_tuned_model_checkpoint,
        project_id,
        after,
        limit,
        newest_first=order == "descending",
    )


@router.delete("/{permission_id}", responses=declared(InvalidRequest, Conflict))
def delete_permission(
    session: Transaction,
    caller: AdminCaller,
    attempt: ThisAttempt,
    fine_tuned_model_checkpoint: str,
    permission_id: str,
) -> PermissionDeleted:
    """Withdraw a permission. The project that had it does not see the model or checkpoint any more.

    If it was a model, jobs and compositions that were created before still use it, as long as its owner keeps
    it.
    """

    def delete() -> PermissionDeleted:
        service.withdraw(session, caller.project_id, fine_tuned_model_checkpoint, permission_id)
        details = {"permission": permission_id}
        audit.record(session, caller, "checkpoint.unshared", fine_tuned_model_checkpoint, details)
        return PermissionDeleted(id=permission_id)

    return repeatable(session, attempt, PermissionDeleted, delete)
