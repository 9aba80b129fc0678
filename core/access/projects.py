"""Projects. The name of a project is part of its models' names, so it is unique and never changes."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.access import audit
from core.access.audit import OPERATOR, Actor
from core.errors import Conflict, NotFound
from core.ids import new_id
from core.tables import Project

QUOTAS = (
    "queued_jobs",
    "running_jobs",
    "stored_bytes",
    "requests_per_minute",
    "concurrent_chats",
    "tokens_per_minute",
    "completion_bytes",
    "completion_days",
)


def create_project(session: Session, name: str, by: Actor = OPERATOR) -> Project:
    """Create a project. Raises Conflict if the name is taken."""
    project = _insert(session, name, by)
    if project is None:
        raise Conflict(f"A project {name!r} exists already; names are unique.", code="project_exists")
    return project


def _insert(session: Session, name: str, by: Actor) -> Project | None:
    """Create a project. Return None if the name is taken."""
    new = insert(Project).values(id=new_id("proj_"), name=name).on_conflict_do_nothing()
    project = session.scalars(new.returning(Project)).one_or_none()
    if project is not None:
        audit.record(session, by.on(project.id), "project.created", project.id, {"name": name})
    return project


def find_project(session: Session, name: str) -> Project:
    """Return the project with this name. Raises NotFound."""
    project = session.scalars(select(Project).where(Project.name == name)).one_or_none()
    if project is None:
        raise NotFound(f"No project is named {name!r}; `tunery projects list` shows them.", param="project")
    return project


def find_or_create_project(session: Session, name: str) -> Project:
    """Return the project with this name. Create it if it does not exist."""
    query = select(Project).where(Project.name == name)
    project = session.scalars(query).one_or_none() or _insert(session, name, OPERATOR)
    return project or session.scalars(query).one()  # somebody else has created it in this moment


def set_quotas(
    session: Session, project: Project, quotas: Mapping[str, int | None], by: Actor = OPERATOR
) -> None:
    """Set these quotas of the project. None restores the installation's default."""
    for name, most in quotas.items():
        setattr(project, f"max_{name}", most)
    audit.record(session, by.on(project.id), "project.updated", project.id, {"quotas": dict(quotas)})


def quotas_of(project: Project) -> dict[str, int | None]:
    """Return the project's own quotas; None stands for the installation's default."""
    return {name: getattr(project, f"max_{name}") for name in QUOTAS}
