"""`tunery keys`: makes, lists and revokes API keys, directly in the database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client import output
from cli.client.database import open_database
from cli.client.home import DEFAULT_HOME, Home, HomeOption
from core.errors import ConfigurationError
from core.roles import Role

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = typer.Typer(
    help="Make, list and revoke API keys, in the database of TUNERY_DATABASE_URL or of the running `up`.",
    no_args_is_help=True,
)

COLUMNS = ("id", "project", "name", "role", "created_at", "expires_at", "revoked_at")


@app.command()
def create(
    project: Annotated[str, typer.Option(help="The project; it is made if it does not exist")] = "default",
    name: Annotated[str, typer.Option(help="What the key is for")] = "made by `tunery keys create`",
    role: Annotated[Role, typer.Option(help="read-only reads, member writes, admin manages")] = Role.MEMBER,
    days: Annotated[
        int | None, typer.Option(min=1, help="Days until the key expires", show_default="never")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json: output.Json = False,
) -> None:
    """Make a key. Its secret is printed only now."""
    from core.access.keys import create_key
    from core.access.projects import find_or_create_project
    from core.database import from_now

    expires_at = from_now(timedelta(days=days).total_seconds()) if days is not None else None
    with database_session(home) as session:
        key = create_key(session, find_or_create_project(session, project), name, role, expires_at)
    if json:
        output.json({"id": key.id, "project": project, "name": name, "role": role.value, "key": key.value})
        return
    output.data(key.value)
    output.note(f"The key {key.id} of project {project}; keep it, it is not shown again.")


@app.command("list")
def list_keys(
    project: Annotated[str | None, typer.Option(help="Only this project's keys")] = None,
    home: HomeOption = DEFAULT_HOME,
    json: output.Json = False,
) -> None:
    """List the keys. Their secrets are not stored anywhere."""
    from sqlalchemy import select

    from core.tables import ApiKey, Project

    query = select(ApiKey, Project.name).join(Project, Project.id == ApiKey.project_id).order_by(ApiKey.id)
    if project is not None:
        query = query.where(Project.name == project)
    with database_session(home) as session:
        rows = [
            {
                "id": key.id,
                "project": project_name,
                "name": key.name,
                "role": key.role,
                "created_at": int(key.created_at.timestamp()),
                "expires_at": int(key.expires_at.timestamp()) if key.expires_at else None,
                "revoked_at": int(key.revoked_at.timestamp()) if key.revoked_at else None,
            }
            for key, project_name in session.execute(query)
        ]
    output.json(rows) if json else output.table(rows, COLUMNS)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="An id from `tunery keys list`")],
    home: HomeOption = DEFAULT_HOME,
    json: output.Json = False,
) -> None:
    """Revoke a key for ever: requests with it are refused from now on."""
    from core.access.keys import revoke_key

    with database_session(home) as session:
        revoke_key(session, key_id)
    output.json({"id": key_id, "revoked": True}) if json else output.note(f"Revoked {key_id}")


@contextmanager
def database_session(home: Path) -> "Iterator[Session]":
    """Yield a session in one transaction, which is committed at the end of the block.

    The variables, or a running `up`, name the database.
    """
    from core.database import session_factory

    with open_database(database_url(home)) as engine, session_factory(engine).begin() as session:
        yield session


def database_url(home: Path) -> str:
    """Return the database's URL, from the environment or the state folder.

    Raises ConfigurationError if neither names one.
    """
    name = "TUNERY_DATABASE_URL"
    url = os.environ.get(name) or Home(home).read_environment().get(name)
    if url is None:
        raise ConfigurationError(
            f"No database: set {name}, or name the --home of a running `tunery up` ({home})"
        )
    return url
