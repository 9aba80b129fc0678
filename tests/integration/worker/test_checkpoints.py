"""Checkpoints in the real store and database: which one a job goes on from, and which one is removed."""

from pathlib import Path

import pytest
from sqlalchemy import select

from core.jobs import lifecycle
from core.storage.file_names import POSITION_NAME, STATE_NAME, WEIGHTS_NAME
from core.tables import Checkpoint
from tests.fixtures.faults.database import broken_once
from tests.fixtures.service.api import Api, Tenant
from tests.fixtures.work.checkpoints import ELSEWHERE, claim_of, messages_of


@pytest.fixture
def job_id(alice: Tenant) -> str:
    return str(alice.create_job()["id"])


def test_a_job_goes_on_from_the_newest_one(api: Api, job_id: str, tmp_path: Path) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        claim.save(1, 0.1)
        claim.save(2, 0.2)
    saved = set(tmp_path.iterdir())
    with claim_of(api, job_id, tmp_path) as claim:
        assert claim.restore() == (2, pytest.approx(0.2))
    assert set(tmp_path.iterdir()) == saved, "what was fetched takes room while the job trains"


def test_one_that_clients_get_holds_the_adapter_and_another_only_what_a_resume_needs(
    api: Api, job_id: str, tmp_path: Path
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        claim.save(1, 0.1)
        claim.save(2, 0.2, best=True)
        query = select(Checkpoint.step, Checkpoint.files).where(Checkpoint.job_id == job_id)
        with api.sessions() as session:
            found = {step: {file["name"] for file in files} for step, files in session.execute(query)}
    for_a_resume = {STATE_NAME, POSITION_NAME}
    assert found == {1: for_a_resume, 2: {*for_a_resume, WEIGHTS_NAME}}


def test_a_foreign_one_is_passed_over_with_an_event_and_kept_for_its_own_worker(
    api: Api, job_id: str, tmp_path: Path
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        claim.save(5, 0.5)
    with claim_of(api, job_id, tmp_path, ELSEWHERE) as claim:
        assert claim.restore() == (0, 0.0)
        assert claim.steps() == [5]
    messages = messages_of(api, job_id)
    assert any("step 5 is passed over: it belongs to another" in message for message in messages)
    with claim_of(api, job_id, tmp_path) as claim:
        assert claim.restore() == (5, pytest.approx(0.5))


def test_a_job_whose_checkpoints_are_all_damaged_starts_over_says_so_and_keeps_them(
    api: Api, job_id: str, tmp_path: Path
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        for step in (1, 2):
            claim.save(step, 0.1 * step)
        with api.sessions() as session:
            prefixes = session.scalars(select(Checkpoint.object_prefix).where(Checkpoint.job_id == job_id))
            for prefix, name in zip(prefixes, (STATE_NAME, POSITION_NAME), strict=True):
                api.store.put_bytes(prefix + name, b"damaged")
    with claim_of(api, job_id, tmp_path) as claim:
        assert claim.restore() == (0, 0.0)
        assert claim.steps() == [1, 2], "a worker with another store may read them"
    told = messages_of(api, job_id)
    for step in (1, 2):
        assert any(f"Checkpoint at step {step} is passed over: " in message for message in told)
    assert told.count("No checkpoint can be used: the job starts over at step 0") == 1


def test_a_job_that_begins_has_nothing_to_tell_of_checkpoints(api: Api, job_id: str, tmp_path: Path) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        assert claim.restore() == (0, 0.0)
    assert not any("heckpoint" in message for message in messages_of(api, job_id))


def test_a_job_that_passed_over_a_foreign_one_keeps_and_finds_its_own(
    api: Api, job_id: str, tmp_path: Path
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        claim.save(2, 0.2)
        claim.save(9, 0.9)
    with claim_of(api, job_id, tmp_path, ELSEWHERE) as claim:
        claim.save(2, 0.22)
        claim.save(3, 0.33)
        claim.drop_old()
        assert claim.steps() == [2, 3]
    with claim_of(api, job_id, tmp_path, ELSEWHERE) as claim:
        assert claim.restore() == (3, pytest.approx(0.33))


def test_the_best_stays_until_another_one_is_better(api: Api, job_id: str, tmp_path: Path) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        claim.save(1, 0.25, best=True)
        for step in (2, 3):
            claim.save(step, 0.5)
        claim.drop_old()
        assert (claim.steps(), claim.best()) == ([1, 2, 3], [1])
        assert claim.take_up_best(1) == (0.25, {"value": 0.25})
        claim.save(4, 0.125, best=True)
        claim.save(5, 0.5)
        claim.drop_old()
        assert (claim.steps(), claim.best()) == ([4, 5], [4])
        claim.save(4, 0.375, best=True)  # the step made again
        assert (claim.steps(), claim.best()) == ([4, 5], [4])
        assert claim.take_up_best(4) == (0.375, {"value": 0.375})


def test_those_of_the_best_validations_are_listed_and_one_that_was_surpassed_only_serves_a_resume(
    api: Api, job_id: str, tmp_path: Path
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        for step in (1, 2, 3):
            claim.save(step, 0.1, promised=True, still_promised=range(1, step + 1))
        claim.save(4, 0.1, promised=True, still_promised=(1, 2, 4))
        assert claim.listed() == [1, 2, 4], "before the old ones are dropped"
        claim.drop_old()
        assert claim.steps() == [1, 2, 3, 4], "the last two are kept for a resume"
        claim.save(5, 0.1, still_promised=(1, 2, 4))
        claim.drop_old()
        assert (claim.steps(), claim.listed()) == ([1, 2, 4, 5], [1, 2, 4])
        claim.save(6, 0.1, promised=True, still_promised=(2, 4, 6))
        claim.drop_old()
        assert (claim.steps(), claim.listed()) == ([2, 4, 5, 6], [2, 4, 6])


def test_of_those_at_the_ends_of_epochs_the_last_three_are_kept(
    api: Api, job_id: str, tmp_path: Path
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        for step in range(1, 6):
            claim.save(step, 0.1, promised=True)
        claim.drop_old()
        assert (claim.steps(), claim.listed()) == ([3, 4, 5], [3, 4, 5])


def test_those_that_clients_get_are_told_of_in_the_commit_that_makes_them(
    api: Api, job_id: str, tmp_path: Path
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        claim.save(1, 0.25)
        claim.save(2, 0.5, best=True)
        assert [message for message in messages_of(api, job_id) if "saved" in message] == [
            "Checkpoint saved at step 2"
        ]
        with api.sessions() as session:
            (best,) = session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.best))
        claim.job_lease.commit(lambda session: lifecycle.record_checkpoint(session, claim.lease, best))
        assert messages_of(api, job_id).count("Checkpoint saved at step 2") == 1, "an answer that was lost"


def test_a_best_one_that_cannot_be_read_leaves_the_state_as_it_is_and_is_told_of(
    api: Api, job_id: str, tmp_path: Path
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        claim.save(1, 0.25, best=True)
        assert claim.take_up_best(2) == (-1.0, None)
    with claim_of(api, job_id, tmp_path, ELSEWHERE) as claim:
        assert claim.take_up_best(1) == (-1.0, None)
        (prefix,) = {checkpoint.object_prefix for checkpoint in _rows(api, job_id)}
        api.store.put_bytes(prefix + STATE_NAME, b"damaged")
    with claim_of(api, job_id, tmp_path) as claim:
        assert claim.take_up_best(1) == (-1.0, None)
    told = [message for message in messages_of(api, job_id) if "cannot be published" in message]
    assert ["it is gone" in told[0], "another specification" in told[1], "SHA-256" in told[2]] == [True] * 3


def _rows(api: Api, job_id: str) -> list[Checkpoint]:
    with api.sessions() as session:
        return list(session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id)))


def test_a_database_that_breaks_while_checkpoints_are_looked_up_costs_nothing(
    api: Api, job_id: str, tmp_path: Path
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        for step in (1, 2, 3):
            claim.save(step, 0.1)
        with broken_once(api, "SELECT checkpoints.id") as broke:
            claim.drop_old()
        assert (claim.steps(), len(broke)) == ([2, 3], 1)
        with broken_once(api, "SELECT checkpoints.id") as broke:
            assert claim.restore() == (3, pytest.approx(0.1))
        assert len(broke) == 1
