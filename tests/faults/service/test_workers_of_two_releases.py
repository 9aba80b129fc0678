"""Workers of this release and of a newer one, on a database that the newer one has migrated."""

from pathlib import Path

import pytest

from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.resting import HURRY, REST
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.releases import CONTRACTED, SECONDS, NewerRelease
from tests.fixtures.service.stack import JOB_SECONDS, LEASE_SECONDS, SCAN_SECONDS, Stack

ONE_JOB = {"cohort_jobs": "1", "checkpoint_seconds": "1"}  # of each worker: the next job is for others
# The older trainer rests for half a second after each step of the first job, until the newer worker has
# started. That worker does not rest, so the second job has many steps: it must not end before its worker is
# stopped.
FIRST = {"rows": 4 * 60, "epochs": 10}
SECOND, STEPS = {"rows": 4 * 50, "epochs": 50}, 50 * 50


def owners(stack: Stack, job_id: str) -> list[str]:
    return [claim.owner for claim in stack.claims(job_id)]


@pytest.mark.exhaustive
def test_trainers_of_two_releases_take_turns_at_a_queue_and_go_on_with_each_others_jobs(
    stack: Stack, tmp_path: Path
) -> None:
    newer = NewerRelease(
        tmp_path / "newer",
        stack.servers,
        stack.api,
        lease_seconds=str(LEASE_SECONDS),
        scan_seconds=str(SCAN_SECONDS),
        **ONE_JOB,
    )
    hurry = tmp_path / "hurry"
    older = stack.start_worker({REST: "0.5", HURRY: str(hurry)}, **ONE_JOB)
    first = stack.create_job(model=TINY, **FIRST)
    stack.wait_for_step(first)
    said = newer.migrate()
    assert f"Held back: {CONTRACTED}" in said, "the worker and the API here are of the release before"
    second = stack.create_job(model=TINY, **SECOND)
    with newer.working() as process:
        stack.wait_for_step(second)
        assert stack.job(first).status == "running", "its trainer knows no newer table"
        assert owners(stack, second) != owners(stack, first)
        wait_for(lambda: stack.checkpoints(second), JOB_SECONDS)
        process.terminate()
        process.wait(SECONDS)
    hurry.touch()
    stack.wait_for_status(first, "succeeded")
    hurry.unlink()
    stack.assert_succeeded_exactly_once(first, tmp_path / "first")
    assert len(owners(stack, first)) == 1, "it ended where it began"
    # Back: the release before goes on from the checkpoint of the newer one
    wait_for(lambda: owners(stack, second)[1:] == owners(stack, first), JOB_SECONDS)
    wait_for(lambda: resumed(stack, second) == 1, JOB_SECONDS)
    with newer.working():
        older.stop()
        wait_for(lambda: resumed(stack, second) == 2, JOB_SECONDS)
        stack.assert_succeeded_exactly_once(second, tmp_path / "second")
    assert [claim.outcome for claim in stack.claims(second)] == ["released", "released", "succeeded"]
    assert [data["step"] for data in stack.metrics(second)] == list(range(1, STEPS + 1)), "no step was lost"


def resumed(stack: Stack, job_id: str) -> int:
    """Return how often the job went on from a checkpoint."""
    return sum("Resumed from the checkpoint" in message for message in stack.events(job_id))
