"""How the API shows one kind of work: what a kind fills in, and the queries that follow from it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import InstrumentedAttribute, Session, defer

from api.http.paging import bytes_of, check_cursor, fetch_page
from api.work.schemas import Row, TaskDeleted, TaskObject
from core.errors import NotFound
from core.ids import id_pattern
from core.tables import Task
from core.work.client import AS_STORED
from core.work.kinds import Kind

View = TypeVar("View", bound=TaskObject)


class Parent(NamedTuple):
    """What the tasks of a kind belong to: the column with its id, and what raises NotFound without it."""

    column: InstrumentedAttribute[Any]
    require: Callable[[Session, str, str], object]
    always: bool = False
    """Whether a task is not found without it. Otherwise only a list asks for it."""

    @property
    def id_name(self) -> str:
        """The name of its id in paths."""
        return self.column.key


@dataclass(frozen=True)
class Resource(Generic[View]):
    """A kind of work as clients know it.

    `name` is its name in routes, codes of errors and the audit log, `id_name` that of a task's id in paths,
    and `called` that in sentences. `view` shows a task, and `summary` a task in lists, without its report.
    `sizes` are the columns that make a row of a list large, and `columns` what is selected beside the task.
    `statuses` are a client's words for the statuses, if they differ. Without `deleted`, no task is deleted.
    """

    kind: Kind
    name: str
    called: str
    id_name: str
    view: type[View]
    sizes: tuple[InstrumentedAttribute[Any], ...]
    parent: Parent | None = None
    columns: tuple[ColumnElement[Any], ...] = ()
    summary: type[TaskObject] | None = None
    deleted: type[TaskDeleted] | None = None
    statuses: Mapping[str, str] = field(default_factory=lambda: AS_STORED)

    def find(self, session: Session, project_id: str, parent_id: str, task_id: str) -> Row:
        """Return a task of the project. Raises NotFound."""
        if self.parent is not None and self.parent.always:
            self.parent.require(session, project_id, parent_id)
        found = session.execute(self._select(project_id, parent_id).where(Task.id == task_id)).one_or_none()
        if found is None:
            raise NotFound(
                f"No such {self.called}: {task_id}",
                code=f"{self.name}_not_found",
                param=self.id_name,
            )
        return Row(found[0], tuple(found[1:]))

    def page(
        self,
        session: Session,
        project_id: str,
        parent_id: str,
        *,
        after: str | None,
        limit: int,
        status: str | None = None,
        newest_first: bool = True,
    ) -> tuple[list[Row], bool]:
        """Return a page of the tasks, and whether more follow.

        The page ends early if it would have too many bytes. Raises NotFound for the parent, and
        InvalidRequest for the cursor.
        """
        check_cursor(after, self._ids)
        if self.parent is not None:
            self.parent.require(session, project_id, parent_id)
        query = self._select(project_id, parent_id)
        if self.summary is not None:
            query = query.options(defer(Task.report, raiseload=True))
        if status is not None:
            query = query.where(Task.status == status)
        size = bytes_of(*self.sizes)
        rows, more = fetch_page(
            session, query, Task.id, after=after, limit=limit, newest_first=newest_first, size=size
        )
        return [Row(row[0], tuple(row[1:])) for row in rows], more

    @property
    def _ids(self) -> re.Pattern[str]:
        return id_pattern(f"{self.kind.name}-")

    def _select(self, project_id: str, parent_id: str) -> Select[*tuple[Any, ...]]:
        query = select(Task, *self.columns).where(
            Task.project_id == project_id, Task.kind == self.kind.name, Task.deleted_at.is_(None)
        )
        return query if self.parent is None else query.where(self.parent.column == parent_id)
