"""Tells the database the release of each process, and finds processes that may be older than a migration.

Each of our sessions has a name such as `tunery 0004 0.2.0`: the newest migration that its code knows, and its
release. The migration stands first, because Postgres cuts long names off, and a pooler may append to them.
Release 0.1.0 gave its sessions no name.
"""

import re
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Connection, text

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"

NAME = re.compile(r"tunery (?P<revision>\d{4})\b")
OTHER_PROGRAMS = re.compile(
    r"psql|pg_dump|pg_dumpall|pg_restore|vacuumdb|reindexdb|clusterdb|pg_amcheck|pgAdmin 4 - .*"
)

# Whoever cannot write our tables runs no part of Tunery. Postgres may hide the type of another role's session
# from us. Its own helpers, such as autovacuum, have no role.
SESSIONS = """
SELECT
    pid, usename, coalesce(application_name, '') AS name, coalesce(host(client_addr), 'this machine') AS host,
    coalesce(CAST(date_trunc('second', backend_start) AS text), 'a time that our role may not see') AS since
FROM pg_stat_activity activity
WHERE
    datname = current_database() AND usesysid IS NOT NULL
    AND coalesce(backend_type, 'client backend') = 'client backend' AND pid <> pg_backend_pid()
    AND EXISTS (
        SELECT FROM pg_roles role
        WHERE pg_has_role(activity.usesysid, role.oid, 'MEMBER') AND (
            has_any_column_privilege(role.oid, 'jobs', 'UPDATE')
            OR has_any_column_privilege(role.oid, 'servers', 'UPDATE')
        )
    )
ORDER BY backend_start
"""
REPORTS = """
SELECT 'worker' AS kind, host, release FROM workers WHERE expires_at > now()
UNION ALL SELECT 'server', host, release FROM servers WHERE expires_at > now()
"""


def session_name(*, pooled: bool = False) -> str:
    """Return the name of this process's sessions, which Postgres shows as their `application_name`.

    Behind a pooler, another process may use the session a moment later, so the name promises nothing.
    """
    return f"tunery {'pooled ' if pooled else ''}{_newest_migration()} {version('tunery')}"


def older_processes(connection: Connection, revision: str) -> list[str]:
    """Return a description of each process whose code may not know the migration `revision`.

    Each session that can write our tables counts, unless its name says that it is new enough, or that it is
    a tool of Postgres. A worker or server may have lost its sessions, such as by a restart of Postgres. So it
    counts while its row has not expired, if its release may have had other tables than this one.
    """
    sessions = [
        f"process {row.pid} of Postgres ({row.name or 'no application name'}, user {row.usename}, from "
        f"{row.host}, since {row.since})"
        for row in connection.execute(text(SESSIONS))
        if _may_be_older(row.name, revision)
    ]
    ours = _series(version("tunery"))
    return sessions + [
        f"a {row.kind} on {row.host} (release {row.release})"
        for row in connection.execute(text(REPORTS))
        if _series(row.release) != ours
    ]


def _may_be_older(name: str, revision: str) -> bool:
    ours = NAME.match(name)
    return ours["revision"] < revision if ours else OTHER_PROGRAMS.fullmatch(name) is None


def _series(release: str) -> list[str]:
    """Return what a release shares with those that have the same tables: patch releases change none."""
    return release.split(".")[:2]


def _newest_migration() -> str:
    """Return the newest revision. The names of the files begin with them, so Alembic need not be imported."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
