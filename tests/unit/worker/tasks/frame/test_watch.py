"""A process that does a task ends with its lease, however long the database lets a renewal wait."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from worker.process.exit_statuses import HUNG, TRY_AGAIN

LIMIT = 60  # seconds, with the start of an interpreter on a busy machine
PROGRAM = """
import json, sys, threading, time
from dataclasses import replace
from types import SimpleNamespace
from core import database
from core.work import kinds
from core.work.lease import TaskLease
from worker.tasks.frame import watch
from worker.tasks.frame.work import Work

port, most_seconds, constants = sys.argv[1:]
kinds.KINDS["export"] = replace(kinds.EXPORT, most_seconds=float(most_seconds))
vars(watch).update(json.loads(constants))
database.CONNECT_TIMEOUT = 600  # no end of a connection's wait may end the process
sessions = database.session_factory(database.create_database(f"postgresql://nobody@127.0.0.1:{port}/none"))
nothing = SimpleNamespace()
work = Work(nothing, sessions, nothing, nothing, TaskLease("export-1", 1, "a holder"))
for target in (watch._renew, watch._end_when_late):
    threading.Thread(target=target, args=(work,), daemon=True).start()
time.sleep(600)
"""


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def exit_status(port: int, most_seconds: float = 600.0, **constants: float) -> int:
    """Return with which status a process ended whose work has no end and whose database is at the port.

    Its kind of work may stand still for `most_seconds`.
    """
    soon = {"LEASE_SECONDS": 0.5, "WATCH_SECONDS": 0.02} | constants
    command = [sys.executable, "-c", PROGRAM, str(port), str(most_seconds), json.dumps(soon)]
    return subprocess.run(command, timeout=LIMIT).returncode


def test_a_process_ends_when_its_lease_runs_out_while_the_database_hangs(silent_port: int) -> None:
    assert exit_status(silent_port) == TRY_AGAIN


def test_a_process_ends_when_its_lease_runs_out_while_the_database_refuses_connections(
    closed_port: int,
) -> None:
    assert exit_status(closed_port, RENEW_SECONDS=0.02) == TRY_AGAIN


def test_a_process_ends_when_its_work_does_not_advance(closed_port: int) -> None:
    assert exit_status(closed_port, most_seconds=0.1, LEASE_SECONDS=600.0) == HUNG
