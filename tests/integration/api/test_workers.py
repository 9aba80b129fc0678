"""/v1/workers: what trainers report of themselves, and how much of it a project may see."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.embedded import EmbeddedServers
from core.jobs import lifecycle
from core.roles import Role
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import new_trainer
from tests.fixtures.service.workers import OWNER, add_worker


def shown(tenant: Tenant) -> dict[str, Any]:
    answer = tenant.http.get("/v1/workers")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def claim(api: Api, owner: str) -> str:
    """Let `owner` claim the next job, and return the id of the job."""
    with api.sessions.begin() as session:
        lease = lifecycle.claim(session, owner, 60)
        assert lease is not None
        return lease.job_id


@pytest.fixture
def held(api: Api, alice: Tenant, bob: Tenant) -> Iterator[str]:
    """Let a worker train one of Alice's jobs beside one of Bob's, and yield the id of Alice's."""
    add_worker(api)
    ids = [tenant.create_job(suffix=f"of-{tenant.project}")["id"] for tenant in (alice, bob)]
    assert {claim(api, OWNER), claim(api, OWNER)} == set(ids)
    yield str(ids[0])
    for tenant, job_id in zip((alice, bob), ids, strict=True):
        tenant.openai.fine_tuning.jobs.cancel(job_id)


def test_a_project_sees_the_names_of_its_own_jobs_and_how_many_others_there_are(
    api: Api, alice: Tenant, held: str
) -> None:
    (worker,) = shown(alice)["data"]
    assert [(job["id"], job["user_provided_suffix"]) for job in worker["jobs"]] == [(held, "of-alice")]
    assert (worker["other_jobs"], worker["base_model"]) == (1, BASE_MODEL)
    assert worker["device"] == {"type": "cuda", "name": "A GPU", "memory_bytes": 100, "memory_used_bytes": 40}
    stranger = shown(api.tenant())["data"][0]
    assert (stranger["jobs"], stranger["other_jobs"]) == ([], 2)


def test_the_operators_administrators_alone_see_hosts(api: Api, alice: Tenant) -> None:
    add_worker(api)
    operator = api.tenant("default", Role.ADMIN)
    assert shown(operator)["data"][0]["host"] == "a-host"
    for other in (alice, api.tenant("alice", Role.ADMIN), api.tenant("default", Role.MEMBER)):
        assert "a-host" not in other.http.get("/v1/workers").text


def test_a_worker_that_is_silent_counts_as_gone(api: Api, alice: Tenant) -> None:
    add_worker(api, "other:1", lasts=-1)
    assert "1" not in [worker["id"] for worker in shown(alice)["data"]]


def test_the_queue_names_own_jobs_in_their_order_and_counts_the_others(api: Api, bob: Tenant) -> None:
    tenant = api.tenant()

    def queue() -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in shown(tenant)["queues"] if each["devices"] == 2)
        return found

    before = queue()["waiting_jobs"]
    bob.create_job(training={"devices": 2})
    own = [tenant.create_job(training={"devices": 2})["id"] for _ in range(2)]
    assert (queue()["waiting_jobs"], queue()["own_waiting_jobs"]) == (before + 3, 2)
    assert [job["id"] for job in queue()["jobs"]] == own
    tenant.openai.fine_tuning.jobs.cancel(own[0])
    assert queue()["own_waiting_jobs"] == 1


def test_a_trainer_tells_of_itself_while_it_is_there(
    servers: EmbeddedServers, database_url: str, tmp_path: Path
) -> None:
    with job_api_on(servers, database_url, catalog_file=write_base(tmp_path), scan_seconds=0.2) as api:
        tenant = api.tenant()
        trainer = new_trainer(api.settings)
        thread = threading.Thread(target=trainer.run, daemon=True)
        thread.start()
        job_id = tenant.create_job(model=TINY, hyperparameters={"n_epochs": 50, "batch_size": 1})["id"]

        def found() -> dict[str, Any] | None:
            workers = [worker for worker in shown(tenant)["data"] if worker["id"] == "a trainer"]
            return next((worker for worker in workers if worker["base_model"] and worker["jobs"]), None)

        worker = wait_for(found, 240)
        assert (worker["base_model"], worker["jobs"][0]["id"]) == (TINY, job_id)
        assert worker["device"]["type"] == "cpu"
        assert 0 < worker["device"]["memory_used_bytes"] < worker["device"]["memory_bytes"]
        trainer.stop()
        thread.join(240)
        assert "a trainer" not in [worker["id"] for worker in shown(tenant)["data"]]
        tenant.openai.fine_tuning.jobs.cancel(job_id)
