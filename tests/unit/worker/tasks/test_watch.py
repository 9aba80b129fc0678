"""A process that does a task ends with its lease, however long the database lets a renewal wait."""

import socket
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.database import create_database, session_factory
from core.tasks.lease import TaskLease
from worker.process.exit_statuses import HUNG, TRY_AGAIN
from worker.tasks import process
from worker.tasks.process import Work


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(process, "WATCH_SECONDS", 0.02)


def work(port: int) -> None:
    """Work without an end, on a task whose database is at this port."""
    sessions = session_factory(create_database(f"postgresql://nobody@127.0.0.1:{port}/none"))
    nothing = cast(Any, SimpleNamespace())
    work = Work(nothing, sessions, nothing, nothing, TaskLease("export-1", 1, "a holder"))
    for watch in (process._renew, process._end_when_late):
        threading.Thread(target=watch, args=(work,), daemon=True).start()
    time.sleep(600)


def exit_status(port: int, seconds: float) -> int | None:
    """Return with which status a process ended that works, or None if it did not end in time."""
    working = get_context("fork").Process(target=work, args=(port,))
    working.start()
    working.join(seconds)
    status = working.exitcode
    working.kill()
    working.join()
    return status


def test_a_process_ends_when_its_lease_runs_out_while_the_database_hangs(silent_port: int) -> None:
    assert exit_status(silent_port, 4) == TRY_AGAIN  # a connection alone would be waited for for 5 s


def test_a_process_ends_when_its_lease_runs_out_while_the_database_refuses_connections(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "RENEW_SECONDS", 0.02)
    assert exit_status(closed_port, 20) == TRY_AGAIN


def test_a_process_ends_when_its_work_does_not_advance(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LEASE_SECONDS", 600.0)
    monkeypatch.setattr(process, "MOST_SECONDS", 0.1)
    assert exit_status(closed_port, 20) == HUNG
