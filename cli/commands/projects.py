"""`tunery projects`: makes projects, sets quotas, and shows usage and audit log, in the database."""

from datetime import timedelta
from typing import Annotated

import typer

from cli.client import output
from cli.client.home import DEFAULT_HOME, HomeOption
from cli.commands.keys import database_session
from core.errors import ConfigurationError

app = typer.Typer(
    help="Make projects, set their quotas, show their usage and their audit log, in the database.",
    no_args_is_help=True,
)

DEFAULT = "default"

PROJECT_COLUMNS = ("id", "name", "created_at", "quotas")
USAGE_COLUMNS = ("day", "project_id", "trained_tokens", "device_seconds")
AUDIT_COLUMNS = ("created_at", "project_id", "key_id", "action", "resource_id", "request_id")

Name = Annotated[str, typer.Argument(help="The project's name")]
Quota = Annotated[str | None, typer.Option(help=f"A number, or '{DEFAULT}' for the installation's quota")]
ProjectOption = Annotated[str | None, typer.Option(help="Only this project")]


@app.command()
def create(name: Name, home: HomeOption = DEFAULT_HOME, json: output.Json = False) -> None:
    """Make a project. Its name becomes a part of its models' names, and cannot change."""
    from core.access.projects import create_project

    with database_session(home) as session:
        project_id = create_project(session, name).id
    output.json({"id": project_id, "name": name}) if json else output.data(project_id)


@app.command("list")
def list_projects(home: HomeOption = DEFAULT_HOME, json: output.Json = False) -> None:
    """List the projects with their own quotas."""
    from sqlalchemy import select

    from core.access.projects import quotas_of
    from core.tables import Project

    with database_session(home) as session:
        rows = [
            {
                "id": project.id,
                "name": project.name,
                "created_at": int(project.created_at.timestamp()),
                "quotas": quotas_of(project),
            }
            for project in session.scalars(select(Project).order_by(Project.id))
        ]
    output.json(rows) if json else output.table(rows, PROJECT_COLUMNS)


@app.command()
def quotas(
    name: Name,
    queued_jobs: Quota = None,
    running_jobs: Quota = None,
    stored_bytes: Quota = None,
    requests_per_minute: Quota = None,
    concurrent_chats: Quota = None,
    tokens_per_minute: Quota = None,
    completion_bytes: Quota = None,
    completion_days: Quota = None,
    home: HomeOption = DEFAULT_HOME,
    json: output.Json = False,
) -> None:
    """Set the given quotas, and show all quotas of the project's own."""
    from core.access.projects import find_project, quotas_of, set_quotas

    given = {
        "queued_jobs": queued_jobs,
        "running_jobs": running_jobs,
        "stored_bytes": stored_bytes,
        "requests_per_minute": requests_per_minute,
        "concurrent_chats": concurrent_chats,
        "tokens_per_minute": tokens_per_minute,
        "completion_bytes": completion_bytes,
        "completion_days": completion_days,
    }
    chosen = {quota: parse_quota(quota, text) for quota, text in given.items() if text is not None}
    with database_session(home) as session:
        project = find_project(session, name)
        if chosen:
            set_quotas(session, project, chosen)
        own = quotas_of(project)
    output.json(own) if json else output.record(own, tuple(own))


@app.command()
def usage(
    project: ProjectOption = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="The number of days, up to today (UTC)")] = 30,
    home: HomeOption = DEFAULT_HOME,
    json: output.Json = False,
) -> None:
    """Show trained tokens and device seconds by day. Jobs that train together each count their whole time."""
    from core.access.projects import find_project
    from core.access.usage import usage
    from core.database import database_time

    with database_session(home) as session:
        today = database_time(session).date()
        project_id = find_project(session, project).id if project else None
        used = usage(session, project_id, today - timedelta(days=days - 1), today)
    rows = [{**row._asdict(), "day": row.day.isoformat()} for row in used]
    output.json(rows) if json else output.table(rows, USAGE_COLUMNS)


@app.command()
def audit(
    project: ProjectOption = None,
    limit: Annotated[int, typer.Option(min=1, help="The largest number of entries, the newest first")] = 100,
    home: HomeOption = DEFAULT_HOME,
    json: output.Json = False,
) -> None:
    """Show who did what, newest first. An entry without a key was made on the server."""
    from sqlalchemy import select

    from core.access.projects import find_project
    from core.tables import AuditLog

    query = select(AuditLog).order_by(AuditLog.id.desc()).limit(limit)
    with database_session(home) as session:
        if project is not None:
            query = query.where(AuditLog.project_id == find_project(session, project).id)
        rows = [
            {
                **{name: getattr(entry, name) for name in AUDIT_COLUMNS},
                "created_at": int(entry.created_at.timestamp()),
            }
            for entry in session.scalars(query)
        ]
    output.json(rows) if json else output.table(rows, AUDIT_COLUMNS)


def parse_quota(name: str, text: str) -> int | None:
    """Return the quota, or None for the default. Raises ConfigurationError."""
    if text == DEFAULT:
        return None
    if not text.isascii() or not text.isdecimal():
        option = name.replace("_", "-")
        raise ConfigurationError(f"--{option} takes a number or '{DEFAULT}', not {text!r}")
    return int(text)
