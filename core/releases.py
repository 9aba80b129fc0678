"""What a process tells the database of its release, and which processes are older than a migration.

Each of our sessions has a name such as `tunery 0.1.0 0004`: the release, and the newest migration that its
code knows. Release 0.1.0 gave its sessions no name.
"""

import re
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Connection, text

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"

NAME = re.compile(r"tunery \S+ (?P<revision>\d{4})")

SESSIONS = """
SELECT
    pid, application_name, coalesce(host(client_addr), 'this machine') AS host,
    CAST(date_trunc('second', backend_start) AS text) AS since
FROM pg_stat_activity
WHERE
    datname = current_database() AND usename = current_user
    AND backend_type = 'client backend' AND pid <> pg_backend_pid()
ORDER BY backend_start
"""


def session_name() -> str:
    """Return the name of this process's sessions, which Postgres shows as their `application_name`."""
    return f"tunery {version('tunery')} {_newest_migration()}"


def older_sessions(connection: Connection, revision: str) -> list[str]:
    """Return a description of each session of our role whose code may not know the migration `revision`.

    A session with the name of another program, such as psql, is none of ours. A session without a name may be
    one of a release that gave none.
    """
    return [
        f"process {row.pid} ({row.application_name or 'no application name'}, from {row.host}, "
        f"since {row.since})"
        for row in connection.execute(text(SESSIONS))
        if _may_be_older(row.application_name, revision)
    ]


def _may_be_older(name: str, revision: str) -> bool:
    ours = NAME.fullmatch(name)
    return ours["revision"] < revision if ours else not name


def _newest_migration() -> str:
    """Return the newest revision. The names of the files begin with them, so Alembic need not be imported."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
