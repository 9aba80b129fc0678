"""Creates tasks of any kind: once for a repeated request, within the project's limit, with an audit entry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from fastapi import Depends
from sqlalchemy.orm import Session

from api.admission.auth import CurrentCaller
from api.dependencies import AppSettings, ModelCatalog, Outgoing
from api.http.idempotency import ThisAttempt, created, found_by
from api.work.resource import Resource, View
from api.work.schemas import Row
from core.access import audit
from core.access.quotas import check_request
from core.work import client as tasks


@dataclass(frozen=True)
class RequestContext:
    """What the check of a request may need."""

    caller: CurrentCaller
    attempt: ThisAttempt
    settings: AppSettings
    catalog: ModelCatalog
    egress: Outgoing


Context = Annotated[RequestContext, Depends()]


class NewTask(NamedTuple):
    """A task that may be created: its checked request, what the audit log says of it, and its parent."""

    request: Any
    details: dict[str, Any]
    of: Mapping[str, str] = {}


def create_task(
    session: Session,
    context: RequestContext,
    resource: Resource[View],
    asked: str,
    check: Callable[[], NewTask],
    parent_id: str = "",
) -> View:
    """Create a task, or return the answer to an earlier attempt at the same request.

    `asked` is the content of the request. `check` raises AppError if the task cannot be created. A new task
    has nothing of the resource's own columns yet. Raises QuotaExceeded if the request does not fit.
    """
    caller, settings = context.caller, context.settings

    def create() -> View:
        new, most_open = check(), settings.project_open_tasks
        task = tasks.create(session, caller.project_id, resource.kind, new.request, most_open, **new.of)
        check_request(session, caller.project_id, caller.quotas.stored_bytes)
        audit.record(session, caller, f"{resource.name}.created", task.id, new.details)
        row = Row(task, [None] * len(resource.columns), settings.public_url)
        return resource.view.of(row)

    is_there = found_by(resource.find, caller.project_id, parent_id)
    return created(session, context.attempt, resource.view, asked, create, is_there)
