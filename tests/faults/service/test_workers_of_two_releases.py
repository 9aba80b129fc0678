"""Workers of this release and of a newer one, on a database that the newer one has migrated."""

from pathlib import Path

import pytest

from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.resting import HURRY, REST
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.releases import CONTRACTED, SECONDS, NewerRelease
from tests.fixtures.service.stack import JOB_SECONDS, LEASE_SECONDS, SCAN_SECONDS, Stack

ONE_JOB = {"cohort_jobs": "1", "checkpoint_seconds": "5"}  # of each worker: the next job is for others
# Of the older trainers after each step: their jobs last until the newer worker is there
REST_SECONDS = "1"
FIRST = {"rows": 4 * 150, "epochs": 2}
# The newer worker does not rest, and must be stopped before the job ends. So the job has many steps. Its
# epochs are few, because each ends with a checkpoint.
SECOND, STEPS = {"rows": 4 * 300, "epochs": 4}, 300 * 4


@pytest.mark.exhaustive
def test_trainers_of_two_releases_work_side_by_side_and_go_on_with_each_others_jobs(
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
    stack.start_worker({REST: REST_SECONDS, HURRY: str(hurry)}, **ONE_JOB)
    first = stack.create_job(model=TINY, **FIRST)
    stack.wait_for_step(first)
    other = stack.start_worker({REST: REST_SECONDS}, **ONE_JOB)
    second = stack.create_job(model=TINY, **SECOND)
    stack.wait_for_step(second)
    said = newer.migrate()
    assert f"Held back: {CONTRACTED}" in said, "the workers and the API here are of the release before"
    with newer.working() as process:
        other.stop()
        wait_for(lambda: resumed(stack, second) == 1, JOB_SECONDS)
        process.terminate()
        assert stack.job(first).status == "running", "its trainer knows no newer table"
        process.wait(SECONDS)
    hurry.touch()
    stack.assert_succeeded_exactly_once(first, tmp_path / "first")
    assert len(owners(stack, first)) == 1, "it ended where it began"
    # Back: the release before goes on from the checkpoint of the newer one
    stack.assert_succeeded_exactly_once(second, tmp_path / "second")
    assert resumed(stack, second) == 2
    older, newest, last = owners(stack, second)
    assert [last] == owners(stack, first)
    assert newest not in (older, last)
    assert [claim.outcome for claim in stack.claims(second)] == ["released", "released", "succeeded"]
    assert [data["step"] for data in stack.metrics(second)] == list(range(1, STEPS + 1)), "no step was lost"


def owners(stack: Stack, job_id: str) -> list[str]:
    return [claim.owner for claim in stack.claims(job_id)]


def resumed(stack: Stack, job_id: str) -> int:
    """Return how often the job went on from a checkpoint."""
    return sum("Resumed from the checkpoint" in message for message in stack.events(job_id))
