"""Messages that wake workers, delivered many times, too early and in any order: each job is trained once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.embedded import EmbeddedServers
from tests.fixtures.api import Api
from tests.fixtures.faults.checker import Client, check
from tests.fixtures.faults.history import record_history
from tests.fixtures.stack import Stack, job_api_on
from tests.fixtures.tiny import TINY, write_base

TIMES = 10


@pytest.fixture(scope="module")
def job_api(
    servers: EmbeddedServers, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    catalog = write_base(tmp_path_factory.mktemp("model"))
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        with api.sessions.begin() as session:
            record_history(session)
        yield api


def test_a_job_is_trained_once_however_often_and_when_its_workers_are_woken(
    stack: Stack, tmp_path: Path
) -> None:
    """The workers never scan for jobs here, so that only messages wake them."""
    doorbell = stack.api.app.state.doorbell
    for _ in range(TIMES):
        doorbell.wake(1)
    for _ in range(2):
        stack.start_worker(scan_seconds="1000")
    client = Client(stack.tenant)
    for _ in range(3):
        client.jobs.add(stack.create_job(rows=12, epochs=2, model=TINY))
        for _ in range(TIMES):
            doorbell.wake(1)
    for job_id in client.jobs:
        stack.assert_succeeded_exactly_once(job_id, tmp_path)
        assert len(stack.runs(job_id)) == 1
    check(stack.api, [client])
