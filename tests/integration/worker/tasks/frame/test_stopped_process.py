"""A process that does a task and is told to stop: what it has finished counts, the rest is given back."""

import os
import subprocess
import sys

import pytest

from core.roles import Role
from core.tables import Task
from core.work import lease as leases
from core.work.client import create
from core.work.kinds import EXPORT
from core.work.lease import TaskLease
from tests.fixtures.outside.collector import collecting
from tests.fixtures.service.api import Api
from tests.fixtures.work.requests import REQUESTS

FAILING = """
from core.errors import JobError
from worker.tasks.frame.process import run_task

def fail(work, folder):
    raise JobError("no_such_row", "A sentence with a name of the client")

run_task(fail)
"""
SETTINGS = ("database_url", "s3_endpoint_url", "s3_bucket")
PROGRAM = """
import os, signal, time
from sqlalchemy import text
from core.database import create_database
from core.tables import Task
from worker.tasks.frame.process import run_task

GIVE_BACKS_THAT_WAIT = text(  # a renewal is an UPDATE
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event_type = 'Lock' AND query LIKE 'SELECT%FOR UPDATE%'"
)

def write(work, folder):
    (folder / "made").write_bytes(b"made")
    return {"made": True}

def stop_meanwhile(session, work):
    session.get_one(Task, work.task.id, with_for_update=True)
    os.kill(os.getpid(), signal.SIGTERM)
    gives_up_at = time.monotonic() + 10
    with create_database(work.settings.database_url).connect() as looking:
        looking = looking.execution_options(isolation_level="AUTOCOMMIT")
        while not looking.scalar(GIVE_BACKS_THAT_WAIT):
            assert time.monotonic() < gives_up_at, "the task is not given back"
            time.sleep(0.01)

run_task(write, conclude=stop_meanwhile)
"""


@pytest.fixture
def task(api: Api) -> TaskLease:
    """A task that has been taken for a process."""
    tenant = api.tenant(role=Role.ADMIN)
    with api.sessions.begin() as session:
        create(session, tenant.project_id, EXPORT, REQUESTS["export"], None)
        lease = leases.take(session, "a process", ["export"])
    assert lease is not None
    return lease


def run(program: str, api: Api, task: TaskLease, **variables: str) -> int:
    """Run the program for the task, and return its status."""
    settings = {f"TUNERY_{name.upper()}": str(getattr(api.settings, name)) for name in SETTINGS}
    doing = subprocess.Popen(
        [sys.executable, "-c", program, task.task_id, str(task.fence), task.holder],
        stdin=subprocess.PIPE,  # its end would tell the process that its worker has ended
        env={**os.environ, **settings, **variables},
    )
    return doing.wait(120)


def test_the_span_of_a_task_that_fails_says_so(api: Api, task: TaskLease) -> None:
    with collecting() as collector:
        assert run(FAILING, api, task, **collector.environment) == 0
    (span,) = collector.named("task.export")
    assert (span.failed, span.attributes["error.type"]) == (True, "no_such_row")
    assert "client" not in repr(span)


def test_a_task_that_is_being_finished_when_the_process_is_told_to_stop_is_finished(
    api: Api, task: TaskLease
) -> None:
    assert run(PROGRAM, api, task) == 0
    with api.sessions() as session:
        row = session.get_one(Task, task.task_id)
    assert (row.status, row.report, row.losses) == ("succeeded", {"made": True}, 0)
