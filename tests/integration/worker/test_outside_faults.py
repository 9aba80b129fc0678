"""Jobs whose surroundings fail: they lose no attempt, say why in plain words, and go on once it is mended."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from cli.embedded import EmbeddedServers
from core.tables import Claim, Event
from faults.picky_store import PickyStore
from tests.fixtures.faults.database import losing_the_answer
from tests.fixtures.faults.disks import SmallDisk
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.stack import cancel_all, job_api_on, short_rows
from tests.fixtures.service.trainer import job_of, running
from worker.trainer.train.server_probe import LEAST_BYTES

SECONDS = 240


@pytest.fixture(scope="module")
def api(
    servers: EmbeddedServers, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """The first loss of a trainer would fail a job."""
    catalog = write_base(tmp_path_factory.mktemp("faults"))
    with job_api_on(servers, database_url, catalog_file=catalog, max_lost_attempts=1) as api:
        yield api


@pytest.fixture
def tenant(api: Api) -> Iterator[Tenant]:
    """Its jobs end with the test."""
    tenant = api.tenant()
    yield tenant
    cancel_all(api, tenant)


def create(tenant: Tenant, epochs: int = 1) -> str:
    file = tenant.upload(short_rows(16))
    hyperparameters = {"n_epochs": epochs, "batch_size": 4}
    return str(tenant.create_job(model=TINY, training_file=file, hyperparameters=hyperparameters)["id"])


def claims_of(api: Api, job_id: str) -> list[Claim]:
    with api.sessions() as session:
        return list(session.scalars(select(Claim).where(Claim.job_id == job_id).order_by(Claim.fence)))


def messages_of(api: Api, job_id: str) -> list[str]:
    with api.sessions() as session:
        return list(session.scalars(select(Event.message).where(Event.job_id == job_id)))


@pytest.mark.exhaustive
@pytest.mark.parametrize("what", ["checkpoints", "adapters"])
def test_a_store_that_takes_small_files_alone_costs_no_attempt_and_gets_no_job_before_it_takes_large_ones(
    api: Api, tenant: Tenant, picky_store: PickyStore, what: str
) -> None:
    job_id = create(tenant)
    picky_store.refuses = lambda _, path, size: f"/{what}/{job_id}" in path and size > 4096
    with running(api, s3_endpoint_url=picky_store.url):

        def is_tested_again_or_has_ended() -> bool:
            tests = sum("/probe-" in path for path in picky_store.refused)
            return tests >= 2 or job_of(api, job_id).status == "failed"

        wait_for(is_tested_again_or_has_ended, SECONDS)
        job = job_of(api, job_id)
        assert (job.status, job.fence, job.lost_attempts) == ("queued", 1, 0)
        told = [message for message in messages_of(api, job_id) if "not the job's fault" in message]
        assert len(told) == 1
        assert "The object store refused PutObject (507)" in told[0]
        picky_store.refuses = lambda *_: False
        wait_for(lambda: job_of(api, job_id).status == "succeeded", SECONDS)
    assert [claim.outcome for claim in claims_of(api, job_id)] == ["released", "succeeded"]


@pytest.mark.exhaustive
def test_a_full_disk_costs_no_attempt_and_takes_no_job_before_it_has_room(
    api: Api,
    tenant: Tenant,
    temporary_files_in: Callable[[Path], None],
    small_disk: Callable[[int], SmallDisk],
) -> None:
    disk = small_disk(4 * LEAST_BYTES)
    temporary_files_in(disk.folder)
    job_id = create(tenant, epochs=50)
    with running(api):
        wait_for(lambda: any(claim.step for claim in claims_of(api, job_id)), SECONDS)

        def has_come_back() -> bool:
            disk.fill()  # the job goes on removing files that have been sent
            return job_of(api, job_id).status != "running"

        wait_for(has_come_back, SECONDS)
        assert job_of(api, job_id).status == "queued"
        told = [message for message in messages_of(api, job_id) if "not the job's fault" in message]
        assert "The trainer's disk failed (No space left on device)" in told[0]
        disk.empty()
        wait_for(lambda: len(claims_of(api, job_id)) == 2, SECONDS)
        job = job_of(api, job_id)
        assert (job.status, job.lost_attempts) == ("running", 0)


@pytest.mark.exhaustive
def test_a_report_that_the_database_refuses_fails_its_job_at_the_first_attempt(
    api: Api, tenant: Tenant
) -> None:
    """That is a fault of Tunery, which another attempt would meet again."""
    job_id = create(tenant, epochs=50)
    with running(api) as trainer:
        wait_for(lambda: any(claim.step for claim in claims_of(api, job_id)), SECONDS)
        (job,) = trainer._loop.jobs
        job.job_lease.write(lambda session: session.execute(text("SELECT :value"), {"value": "\0"}))
        wait_for(lambda: job_of(api, job_id).status != "running", SECONDS)
    row = job_of(api, job_id)
    assert row.error is not None
    assert (row.status, row.error["code"], row.fence) == ("failed", "internal_error", 1)


@pytest.mark.family(1)
@pytest.mark.parametrize("statement", ["runs", "checkpoints", "adapters"])
def test_a_commit_whose_answer_is_lost_is_found_and_the_job_goes_on_at_once(
    api: Api, tenant: Tenant, statement: str
) -> None:
    """Claim, checkpoint and end. A trainer that waited for its next look or its lease would be too late."""
    with (
        running(api, scan_seconds=600.0, lease_seconds=600.0) as trainer,
        losing_the_answer(trainer._claims._sessions.kw["bind"], f"INSERT INTO {statement} ") as lost,
    ):
        job_id = create(tenant)
        trainer.wake()
        wait_for(lambda: job_of(api, job_id).status == "succeeded", SECONDS)
        wait_for(lambda: not trainer._loop.jobs)
    assert lost
    job = job_of(api, job_id)
    assert (job.fence, job.lost_attempts) == (1, 0)
    assert [claim.outcome for claim in claims_of(api, job_id)] == ["succeeded"]
    said = messages_of(api, job_id)
    assert said.count("Fine-tuning job started") == said.count("The job has successfully completed") == 1
