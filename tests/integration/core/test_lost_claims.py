"""Runs that are lost with their trainer: who is to blame, and who is claimed again."""

from datetime import timedelta

import pytest
from sqlalchemy import func, update

from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.lifecycle import Progress
from core.tables import Claim
from tests.fixtures.service.jobs import LIMIT, Jobs


@pytest.mark.parametrize("code", ["worker_lost", "out_of_memory"])
def test_a_job_lost_too_often_fails_with_the_reason_unless_it_made_progress(jobs: Jobs, code: str) -> None:
    job_id = jobs.submit()
    for attempt in range(LIMIT + 1):
        lease = jobs.claim(f"owner {attempt}")
        if attempt == 1:
            jobs.writes(lease)["checkpoint"]()
        with jobs.sessions.begin() as session:
            lifecycle.lose_claims_of(session, f"owner {attempt}", "The trainer burst", LIMIT, code)
        if attempt < LIMIT:
            assert jobs.job_of(job_id).status == "queued"
    job = jobs.job_of(job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error["code"] == code
    assert "The trainer burst" in job.error["message"]
    assert ("Lower training.max_length" in job.error["message"]) == (code == "out_of_memory")


def test_a_trainer_lost_with_several_jobs_fails_none_and_each_is_claimed_to_be_alone(jobs: Jobs) -> None:
    ids = [jobs.submit() for _ in range(3)]
    for _ in ids:
        assert not jobs.claim().alone
    jobs.lose_all_of("a trainer", limit=1)
    assert [jobs.job_of(job_id).status for job_id in ids] == ["queued"] * 3
    lease = jobs.claim()
    assert lease.alone
    jobs.writes(lease)["checkpoint"]()
    jobs.writes(lease)["release"]()
    assert not jobs.claim().alone


def test_a_suspect_has_to_get_past_the_step_that_its_lost_claim_had_made(jobs: Jobs) -> None:
    job_id, owner = jobs.submit(), new_id("trainer-")
    lease = jobs.claim(owner)
    assert lease.step_to_pass is None
    with jobs.sessions.begin() as session:
        lifecycle.renew(session, lease, Progress("training", step=7))
    jobs.lose_all_of(owner)
    again = jobs.claim()
    assert (again.job_id, again.alone, again.step_to_pass) == (job_id, True, 7)


@pytest.mark.parametrize("found", ["by its supervisor", "by another's sweep"])
def test_a_trainer_lost_with_a_suspect_is_held_against_it_alone(jobs: Jobs, found: str) -> None:
    innocent, guilty = jobs.submit(), jobs.submit()
    before, owner = new_id("trainer-"), new_id("trainer-")
    jobs.claim(before)
    jobs.claim(before)
    jobs.lose_all_of(before, limit=2)
    jobs.writes(jobs.claim(owner))["checkpoint"]()
    assert jobs.claim(owner).alone
    if found == "by its supervisor":
        jobs.lose_all_of(owner, limit=2)
    else:
        with jobs.sessions.begin() as session:
            session.execute(update(Claim).values(expires_at=func.now() - timedelta(seconds=1)))
            lifecycle.lose_expired_claims(session, 2)
    assert jobs.job_of(guilty).status == "failed"
    assert (jobs.job_of(innocent).status, jobs.job_of(innocent).lost_attempts) == ("queued", 0)
    assert not jobs.claim().alone


def test_a_trainer_whose_leases_run_out_one_by_one_fails_nobody_for_having_been_the_last(jobs: Jobs) -> None:
    owner = new_id("trainer-")
    ids = [jobs.submit() for _ in range(3)]
    for lease in [jobs.claim(owner) for _ in ids]:
        jobs.let_go_of_the_lease(lease)
    assert [jobs.job_of(job_id).status for job_id in ids] == ["queued"] * 3


@pytest.mark.parametrize("first", ["the suspect's", "its neighbour's"])
def test_a_suspect_is_to_blame_and_its_neighbour_is_not_whichever_lease_runs_out_first(
    jobs: Jobs, first: str
) -> None:
    jobs.submit()
    jobs.claim("the trainer before")
    jobs.lose_all_of("the trainer before")
    owner = new_id("trainer-")
    suspect = jobs.claim(owner)
    jobs.submit()
    neighbour = jobs.claim(owner)
    assert (suspect.alone, neighbour.alone) == (True, False)
    in_order = [suspect, neighbour] if first == "the suspect's" else [neighbour, suspect]
    for lease in in_order:
        jobs.let_go_of_the_lease(lease)
    assert jobs.job_of(suspect.job_id).status == "failed"
    spared = jobs.job_of(neighbour.job_id)
    assert (spared.status, spared.lost_attempts) == ("queued", 0)


def test_a_suspect_is_still_to_blame_after_a_checkpoint_of_a_step_before_its_loss(jobs: Jobs) -> None:
    guilty = jobs.submit()
    before = jobs.claim("the trainer before")
    with jobs.sessions.begin() as session:
        lifecycle.renew(session, before, Progress("training", step=7))
    jobs.lose_all_of("the trainer before")
    owner = new_id("trainer-")
    suspect = jobs.claim(owner)
    jobs.submit()
    neighbour = jobs.claim(owner)
    jobs.writes(suspect)["checkpoint"]()  # of step 1
    jobs.lose_all_of(owner, limit=1)
    assert jobs.job_of(guilty).status == "failed"
    spared = jobs.job_of(neighbour.job_id)
    assert (spared.status, spared.lost_attempts) == ("queued", 0)


def test_a_job_that_a_living_trainer_gives_back_is_not_blamed_however_often(jobs: Jobs) -> None:
    job_id = jobs.submit()
    for _ in range(LIMIT):
        lease = jobs.claim()
        assert not lease.alone
        jobs.writes(lease)["release"]()
        job = jobs.job_of(job_id)
        assert (job.status, job.lost_attempts) == ("queued", 0)
