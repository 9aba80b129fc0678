"""Messages that wake workers, delivered many times, too early and in any order: each job is trained once."""

from pathlib import Path

from faults.checker import Client, check
from tests.fixtures.stack import Stack
from tests.fixtures.tiny import TINY

TIMES = 10


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
