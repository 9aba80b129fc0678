"""Workers whose clocks are wrong and jump, and a database whose clock jumps: each job is trained once."""

from datetime import timedelta
from pathlib import Path

import pytest

from faults.checker import Client, check
from tests.fixtures.faults.clocks import database_jumps, variables
from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.resting import REST
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.stack import JOB_SECONDS, Stack

MINUTES = 60.0
SLOWLY = {REST: "0.1"}  # a job lasts for long, and takes little processor time
SLOWER = {REST: "0.5"}  # it lasts until another trainer has started, also on a busy machine
SIZE = {"rows": 24, "epochs": 20}  # 120 steps


@pytest.mark.exhaustive
def test_a_worker_takes_over_when_the_lease_has_run_out_by_the_clock_of_the_database(
    stack: Stack, tmp_path: Path
) -> None:
    """Both clocks are wrong by ten minutes: the first jumps from ahead to behind, the second is behind."""
    first = stack.start_worker(SLOWER | variables(10 * MINUTES, -10 * MINUTES))
    job = stack.create_job(**SIZE, model=TINY)
    client = Client(stack.tenant, {job})
    stack.wait_for_step(job, 5)
    stack.start_worker(variables(-10 * MINUTES))
    wait_for(lambda: stack.log().count("trainer_ready") == 2 or len(stack.claims(job)) > 1, JOB_SECONDS)
    assert len(stack.claims(job)) == 1, "nobody takes a job whose trainer renews its lease"
    first.destroy()
    stack.assert_succeeded_exactly_once(job, tmp_path)
    lost, taken = stack.claims(job)
    assert lost.outcome == "lost"
    assert lost.ended_at is not None
    assert lost.expires_at <= lost.ended_at <= taken.started_at
    check(stack.api, [client])


@pytest.mark.exhaustive
def test_a_job_is_trained_once_although_the_clock_of_the_database_jumps(stack: Stack, tmp_path: Path) -> None:
    """Each lease seems to have run out at once, while its trainer trains on."""
    for _ in range(2):
        stack.start_worker(SLOWLY)
    jobs = [stack.create_job(**SIZE, model=TINY) for _ in range(2)]
    for job in jobs:
        stack.wait_for_step(job, 20)

    def a_lease_ran_out() -> bool:
        # A trainer may renew its lease before a scan finds it: then the clock jumps again
        database_jumps(stack.api, timedelta(minutes=10))
        return any(claim.ended_at for job in jobs for claim in stack.claims(job)[:1])

    wait_for(a_lease_ran_out, JOB_SECONDS)
    for job in jobs:
        stack.assert_succeeded_exactly_once(job, tmp_path)
    assert any(len(stack.claims(job)) > 1 for job in jobs)
    check(stack.api, [Client(stack.tenant, set(jobs))])
