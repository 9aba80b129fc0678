"""/v1/organization: projects, their API keys, the audit log and usage. All need an administrator's key."""

from typing import Annotated

from fastapi import Query

from api.admission.auth import AdminCaller, OperatorCaller
from api.dependencies import Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, created, found_by, repeatable
from api.http.paging import After, Limit
from api.http.routers import feature
from api.organization import service
from api.organization.schemas import (
    ApiKeyDeleted,
    ApiKeyObject,
    AuditLogObject,
    CompletionsUsagePage,
    CreateApiKey,
    CreateProject,
    NewApiKey,
    ProjectObject,
    UpdateProject,
    UsagePage,
)
from api.organization.usage import PAGE_DAYS, Span, completions_page, fine_tuning_page
from api.schemas import Page
from core.access.idempotency import for_good
from core.access.projects import create_project, set_quotas
from core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from core.tables import ApiKey

ProjectId = Annotated[
    str | None,
    Query(
        description="The project to look at. Without it, the operator sees all projects, and others their own"
    ),
]
Moment = Annotated[int | None, Query(ge=0, le=2**32, description="Unix seconds")]
DayLimit = Annotated[int, Query(ge=1, le=PAGE_DAYS, description="The most days of a page")]
Cursor = Annotated[str | None, Query(description="The `next_page` of the page before")]

router = feature("/v1/organization", "Organization", PermissionDenied)


@router.get("/projects", responses=declared(InvalidRequest))
def list_projects(
    session: Transaction, caller: AdminCaller, limit: Limit = 20, after: After = None
) -> Page[ProjectObject]:
    """List the caller's own project, or for the operator all projects, newest first."""
    return service.list_projects(session, caller, after, limit)


@router.post("/projects", responses=declared(InvalidRequest, Conflict))
def create_a_project(
    session: Transaction, caller: OperatorCaller, attempt: ThisAttempt, body: CreateProject
) -> ProjectObject:
    """Create a project. Only the operator can do this."""

    def create() -> ProjectObject:
        project = create_project(session, body.name, caller)
        if quotas := body.quotas.model_dump(exclude_unset=True):
            set_quotas(session, project, quotas, caller)
        return ProjectObject.of(project)

    asked = body.model_dump_json(exclude_unset=True)
    return created(session, attempt, ProjectObject, asked, create, for_good)


@router.get("/projects/{project_id}", responses=declared(NotFound))
def retrieve_project(session: Transaction, caller: AdminCaller, project_id: str) -> ProjectObject:
    """Return a project with its quotas."""
    return ProjectObject.of(service.get_project(session, caller, project_id))


@router.post("/projects/{project_id}", responses=declared(InvalidRequest, NotFound))
def update_project(
    session: Transaction, caller: OperatorCaller, project_id: str, body: UpdateProject
) -> ProjectObject:
    """Set the quotas of a project. Only the operator can do this."""
    project = service.get_project(session, caller, project_id)
    set_quotas(session, project, body.quotas.model_dump(exclude_unset=True), caller)
    return ProjectObject.of(project)


@router.get("/projects/{project_id}/api_keys", responses=declared(InvalidRequest, NotFound))
def list_api_keys(
    session: Transaction, caller: AdminCaller, project_id: str, limit: Limit = 20, after: After = None
) -> Page[ApiKeyObject]:
    """List the API keys that are not revoked, newest first."""
    return service.list_keys(session, caller, project_id, after, limit)


@router.post("/projects/{project_id}/api_keys", responses=declared(InvalidRequest, NotFound, Conflict))
def create_api_key(
    session: Transaction, caller: AdminCaller, attempt: ThisAttempt, project_id: str, body: CreateApiKey
) -> NewApiKey:
    """Create an API key.

    The answer's `value` is the key. Keep it: the server does not store it in plain text, and only a
    repetition of this request shows it again.
    """

    def create() -> NewApiKey:
        new = service.create(session, caller, project_id, body)
        key = ApiKeyObject.of(session.get_one(ApiKey, new.id))
        return NewApiKey(**key.model_dump(), value=new.value)

    is_there = found_by(service.get_key, caller, project_id)
    return created(session, attempt, NewApiKey, body, create, is_there, shows_secret=True)


@router.get("/projects/{project_id}/api_keys/{api_key_id}", responses=declared(NotFound))
def retrieve_api_key(
    session: Transaction, caller: AdminCaller, project_id: str, api_key_id: str
) -> ApiKeyObject:
    """Return an API key, without its value."""
    return ApiKeyObject.of(service.get_key(session, caller, project_id, api_key_id))


@router.delete(
    "/projects/{project_id}/api_keys/{api_key_id}", responses=declared(NotFound, InvalidRequest, Conflict)
)
def delete_api_key(
    session: Transaction, caller: AdminCaller, attempt: ThisAttempt, project_id: str, api_key_id: str
) -> ApiKeyDeleted:
    """Revoke an API key for good. Requests with it are refused, after a few seconds at most."""

    def delete() -> ApiKeyDeleted:
        service.revoke(session, caller, project_id, api_key_id)
        return ApiKeyDeleted(id=api_key_id)

    return repeatable(session, attempt, ApiKeyDeleted, delete)


@router.get("/audit_logs", responses=declared(InvalidRequest, NotFound))
def list_audit_logs(
    session: Transaction,
    caller: AdminCaller,
    project_id: ProjectId = None,
    limit: Limit = 20,
    after: After = None,
) -> Page[AuditLogObject]:
    """List who did what, newest first."""
    return service.list_audit_logs(session, service.scope(caller, project_id), after, limit)


@router.get("/usage/fine_tuning", responses=declared(InvalidRequest, NotFound))
def fine_tuning_usage(
    session: Transaction,
    caller: AdminCaller,
    project_id: ProjectId = None,
    start_time: Moment = None,
    end_time: Moment = None,
    limit: DayLimit = PAGE_DAYS,
    page: Cursor = None,
) -> UsagePage:
    """Return the trained tokens and the device seconds of each day, by default for the last 30 days.

    `start_time` and `end_time` ask for another span, of 366 days at most.
    """
    wanted = service.scope(caller, project_id)
    return fine_tuning_page(session, wanted, Span(start_time, end_time, limit, page))


@router.get("/usage/completions", responses=declared(InvalidRequest, NotFound))
def completions_usage(
    session: Transaction,
    caller: AdminCaller,
    project_id: ProjectId = None,
    start_time: Moment = None,
    end_time: Moment = None,
    limit: DayLimit = PAGE_DAYS,
    page: Cursor = None,
) -> CompletionsUsagePage:
    """Return the requests and tokens of each model and day, by default for the last 30 days.

    They are those of chats and completions. `start_time` and `end_time` ask for another span, of 366 days at
    most.
    """
    wanted = service.scope(caller, project_id)
    return completions_page(session, wanted, Span(start_time, end_time, limit, page))
