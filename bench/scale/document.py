"""Describes a measurement: the machine, the release, and the rows of the database."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from typing import Any

import psutil
from sqlalchemy import text

from bench import BENCH
from bench.training.machine import cpu_info
from cli.embedded import EmbeddedServers
from core.database import create_database


def environment(servers: EmbeddedServers) -> dict[str, Any]:
    """Return when and where this is measured."""
    engine = create_database(servers.urls["database_url"])
    with engine.connect() as connection:
        counted = (
            "SELECT relname, reltuples FROM pg_class WHERE relname IN ('jobs', 'events', 'adapters', 'runs')"
        )
        rows = {name: int(count) for name, count in connection.execute(text(counted))}
        size = connection.scalar(text("SELECT pg_database_size(current_database())"))
        version = connection.scalar(text("SHOW server_version"))
    engine.dispose()
    commit = ["git", "-C", str(BENCH), "rev-parse", "--short", "HEAD"]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": subprocess.run(commit, capture_output=True, text=True).stdout.strip(),
        "cpu": cpu_info().get("model name", "an unnamed processor"),
        "cores": len(psutil.Process().cpu_affinity()),
        "memory_bytes": psutil.virtual_memory().total,
        "load": os.getloadavg()[0],
        "postgres": version,
        "rows": rows,
        "database_bytes": size,
    }
