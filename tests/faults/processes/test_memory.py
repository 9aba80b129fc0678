"""The machine's memory runs out while jobs train: the system kills their trainer."""

from pathlib import Path

import pytest

from tests.fixtures.faults.memory import without_memory
from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.resting import REST
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.stack import JOB_SECONDS, Stack

LONG = {"rows": 16, "epochs": 8}  # 32 steps


@pytest.mark.exhaustive
def test_a_trainer_without_memory_is_replaced_and_its_jobs_are_told_why(stack: Stack, tmp_path: Path) -> None:
    worker = stack.start_worker({REST: "0.2"})  # so that both jobs go on until the system kills
    jobs = [stack.create_job(model=TINY, **LONG) for _ in range(2)]
    for job_id in jobs:
        stack.wait_for_step(job_id, 2)
    trainer = worker.trainer()
    with without_memory() as group:
        group.write_text(str(trainer.pid))
        stack.create_job(model=TINY)  # joins, which takes memory, and further steps may take none
        wait_for(lambda: not trainer.is_running(), JOB_SECONDS)
    for job_id in jobs:
        stack.assert_succeeded_exactly_once(job_id, tmp_path)
        assert any("memory ran out, and the system killed" in message for message in stack.events(job_id))
    assert stack.tenant.http.get("/v1/models").is_success
