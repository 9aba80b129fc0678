"""The routes that all kinds of work have alike: list, show, cancel and delete tasks."""

from collections.abc import Callable
from typing import Annotated, Any, Generic, NamedTuple

from fastapi import APIRouter, Depends, Path

from api.admission.auth import CurrentCaller
from api.dependencies import AppSettings, Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, repeatable
from api.http.paging import After, LongLimit
from api.schemas import Page
from api.work.resource import Resource, View
from api.work.schemas import TaskDeleted, TaskObject
from core.access import audit
from core.errors import AppError, Conflict, InvalidRequest
from core.work import client as tasks


class Wanted(NamedTuple):
    """The page of a list that a client asks for. `status` is one of `core.tables.TASK_STATUSES`, or all."""

    after: str | None
    limit: int
    status: str | None = None
    newest_first: bool = True


async def newest_first(limit: LongLimit = 20, after: After = None) -> Wanted:
    """Return the page that a request asks for, of a list whose order is always the same."""
    return Wanted(after, limit)


def add_task_routes(
    router: APIRouter,
    resource: Resource[View],
    path: str,
    wanted: Callable[..., Any] = newest_first,
    undeclared: tuple[type[AppError], ...] = (),
) -> None:
    """Add the routes of a kind of work to its router, at `path`.

    `wanted` gets the page of a list from the query. `undeclared` has the errors of a single task that the
    router does not declare for all of its routes.
    """
    acts = _Acts(resource, wanted)
    name, called, one = resource.name, resource.called, f"{path}/{{{resource.id_name}}}"
    pages: Any = Page.__class_getitem__(resource.summary or resource.view)
    changing = declared(*undeclared, Conflict, InvalidRequest)

    def add(
        method: str, at: str, act: Callable[..., Any], verb: str, model: Any, says: str, errors: Any
    ) -> None:
        router.add_api_route(
            at, act, methods=[method], name=verb, response_model=model, description=says, responses=errors
        )

    of_list = (
        f"List the project's {called}s.\n\n"
        "A page may have fewer than `limit` items although more follow, if they are large."
    )
    add("GET", path, acts.list_all(), f"list_{name}s", pages, of_list, declared(InvalidRequest))
    of_one = f"Return one {called}, with its progress or its result."
    add("GET", one, acts.retrieve(), f"retrieve_{name}", resource.view, of_one, declared(*undeclared))
    of_cancel = f"Cancel one {called}, which must not have ended."
    add("POST", f"{one}/cancel", acts.cancel(), f"cancel_{name}", resource.view, of_cancel, changing)
    if resource.deleted is not None:
        of_delete = f"Delete one {called}, which must have ended, with its files. What it has made stays."
        add("DELETE", one, acts.delete(), f"delete_{name}", resource.deleted, of_delete, changing)


class _Acts(Generic[View]):
    """Makes the functions behind the routes of a resource, each with its parameters."""

    def __init__(self, resource: Resource[View], wanted: Callable[..., Any]) -> None:
        self._resource, self._wanted = resource, wanted
        self._parent = _from_path(resource.parent.id_name) if resource.parent else _no_parent
        self._task = _from_path(resource.id_name)

    def list_all(self) -> Callable[..., Any]:
        resource, of_parent, from_query = self._resource, self._parent, self._wanted
        shown: type[TaskObject] = resource.summary or resource.view

        def list_tasks(
            session: Transaction,
            caller: CurrentCaller,
            settings: AppSettings,
            parent_id: Annotated[str, Depends(of_parent)],
            wanted: Annotated[Wanted, Depends(from_query)],
        ) -> Any:
            rows, has_more = resource.page(session, caller.project_id, parent_id, **wanted._asdict())
            return Page.of([shown.of(row._replace(dashboard=settings.public_url)) for row in rows], has_more)

        return list_tasks

    def retrieve(self) -> Callable[..., Any]:
        resource, of_parent, of_task = self._resource, self._parent, self._task

        def retrieve_task(
            session: Transaction,
            caller: CurrentCaller,
            settings: AppSettings,
            parent_id: Annotated[str, Depends(of_parent)],
            task_id: Annotated[str, Depends(of_task)],
        ) -> Any:
            row = resource.find(session, caller.project_id, parent_id, task_id)
            return resource.view.of(row._replace(dashboard=settings.public_url))

        return retrieve_task

    def cancel(self) -> Callable[..., Any]:
        resource, of_parent, of_task = self._resource, self._parent, self._task

        def cancel_task(
            session: Transaction,
            caller: CurrentCaller,
            settings: AppSettings,
            attempt: ThisAttempt,
            parent_id: Annotated[str, Depends(of_parent)],
            task_id: Annotated[str, Depends(of_task)],
        ) -> Any:
            def cancel() -> View:
                row = resource.find(session, caller.project_id, parent_id, task_id)
                tasks.cancel(session, row.task, resource.statuses)
                audit.record(session, caller, f"{resource.name}.cancelled", task_id)
                return resource.view.of(row._replace(dashboard=settings.public_url))

            return repeatable(session, attempt, resource.view, cancel, done="task_ended")

        return cancel_task

    def delete(self) -> Callable[..., Any]:
        resource, of_parent, of_task = self._resource, self._parent, self._task
        answer = resource.deleted or TaskDeleted

        def delete_task(
            session: Transaction,
            caller: CurrentCaller,
            attempt: ThisAttempt,
            parent_id: Annotated[str, Depends(of_parent)],
            task_id: Annotated[str, Depends(of_task)],
        ) -> Any:
            def delete() -> TaskDeleted:
                row = resource.find(session, caller.project_id, parent_id, task_id)
                tasks.delete(session, row.task, resource.statuses)
                audit.record(session, caller, f"{resource.name}.deleted", task_id)
                return answer.of(task_id)

            return repeatable(session, attempt, answer, delete)

        return delete_task


def _from_path(name: str) -> Callable[..., Any]:
    """Return a dependency that gets the id with this name from the path."""

    async def given(value: Annotated[str, Path(alias=name)]) -> str:
        return value

    return given


async def _no_parent() -> str:
    return ""
