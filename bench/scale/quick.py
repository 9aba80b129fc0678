"""Settings of Postgres with which a table fills several times as fast. A crash would destroy the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from cli.embedded import EmbeddedServers
from cli.embedded.postgres import ADMIN

SETTINGS = {
    **{"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"},
    **{"wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "1GB", "checkpoint_timeout": "1h"},
    **{"shared_buffers": "1GB", "maintenance_work_mem": "1GB", "work_mem": "256MB"},
}


def connect_as_admin(servers: EmbeddedServers) -> psycopg.Connection[Any]:
    """Return a connection of the superuser, who may load rows without checking their references."""
    password = json.loads((servers.home / "credentials.json").read_text())["database_admin_password"]
    url = servers.urls["database_url"]
    return psycopg.connect(url, user=ADMIN, password=password, autocommit=True)


@contextmanager
def quick_settings(servers: EmbeddedServers) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to a server with these settings. Afterwards the server has its usual ones again."""
    with connect_as_admin(servers) as connection:
        for name, value in SETTINGS.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    servers.restart("postgres")
    with connect_as_admin(servers) as connection:
        connection.execute("SET session_replication_role = replica")  # no triggers of foreign keys
        yield connection
        connection.execute("ALTER SYSTEM RESET ALL")
        connection.execute("CHECKPOINT")
    servers.restart("postgres")
