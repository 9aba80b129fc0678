"""The API's page for Prometheus: its own requests, and what the database knows of the whole service."""

import socket
import time
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import delete, func, text, update
from sqlalchemy.orm import Session

from api.monitoring import database, queries
from api.monitoring.database import DatabaseFigures
from cli.embedded import EmbeddedServers
from core.database import CONNECT_TIMEOUT, create_database, session_factory
from core.jobs import lifecycle
from core.monitoring import declared
from core.monitoring.declared import MOST_PROJECTS, OTHERS, all_declared
from core.roles import Role
from core.settings import Settings
from core.tables import Artifact, Job, Project, Server, WebhookDelivery
from tests.fixtures.outside.prometheus import Samples, families, page, promtool, samples
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.api import Api, Tenant, refusal
from tests.fixtures.service.workers import add_worker


@pytest.fixture(scope="module")
def seen(api: Api) -> Iterator[Api]:
    """An API with a page."""
    with api.beside(api_metrics_port=free_port()) as beside:
        yield beside


def shown(seen: Api) -> Samples:
    return samples(page(f"127.0.0.1:{seen.settings.api_metrics_port}"))


def read(api: Api) -> Samples:
    """Return what a page would say of the database if it had been asked long after the last time."""
    figures = DatabaseFigures(api.sessions, None, fresh_seconds=0, ledger_seconds=0)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in figures.collect()
        for sample in family.samples
    }


def test_requests_are_counted_by_route_status_and_code(seen: Api) -> None:
    tenant = seen.tenant()
    before = shown(seen)

    def more(*key: str) -> float:
        return shown(seen).get(key, 0) - before.get(key, 0)

    tenant.http.get("/v1/files/file-1")
    tenant.http.get("/v1/files/file-2")
    tenant.http.get("/v1/files", params={"limit": "many"})
    tenant.http.get("/v1/nothing/like/this")
    httpx.get(f"{seen.url}/v1/files")
    httpx.get(f"{seen.url}/readyz")
    requests = "tunery_api_requests_total"
    assert more(requests, "GET", "/v1/files/{file_id}", "404") == 2
    assert more("tunery_api_request_seconds_count", "GET", "/v1/files/{file_id}") == 2
    assert more(requests, "GET", "/v1/files", "400") == 1
    assert more(requests, "GET", "elsewhere", "404") == 1
    assert more(requests, "GET", "elsewhere", "401") == 1
    assert more(requests, "GET", "/readyz", "200") == 1
    errors = "tunery_api_errors_total"
    assert more(errors, "file_not_found") + more(errors, "not_found") == 2
    assert more(errors, "unknown_url") == 1
    assert more(errors, "invalid_api_key") == 1


def test_a_path_that_a_client_makes_up_makes_no_series(seen: Api) -> None:
    tenant = seen.tenant()
    tenant.http.get("/v1/made-up")
    tenant.http.request("BREW", "/v1/made-up")
    known = len(shown(seen))
    for number in range(20):
        tenant.http.get(f"/v1/made-up/{number}")
        tenant.http.request(f"BREW{number}", "/v1/made-up")
    assert len(shown(seen)) == known


def test_the_page_has_declared_metrics_only_and_is_what_promtool_likes(seen: Api) -> None:
    text = page(f"127.0.0.1:{seen.settings.api_metrics_port}")
    names = {metric.name.removesuffix("_total") for metric in all_declared()}
    assert {family.name for family in families(text) if not family.name.startswith("process_")} <= names
    assert ("tunery_api_errors_total", "no_server") in samples(text), "an alert looks for its increase"
    done = promtool("check", "metrics", input=text)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_public_api_shows_no_metrics(seen: Api) -> None:
    refusal(httpx.get(f"{seen.url}/v1/metrics"), 401)
    assert "tunery_" not in httpx.get(f"{seen.url}/metrics").text


def test_without_the_setting_there_is_no_page() -> None:
    assert Settings().api_metrics_port is None
    assert Settings().worker_metrics_port is None
    assert Settings().metrics_host == "127.0.0.1"


def test_the_queue_is_shown_by_class_and_project(api: Api) -> None:
    one, other = api.tenant(), api.tenant()
    jobs = [one.create_job()["id"] for _ in range(3)]
    other.create_job()
    with api.sessions.begin() as session:
        session.execute(
            update(Job).where(Job.id == jobs[0]).values(created_at=func.now() - timedelta(hours=2))
        )
        session.execute(update(Job).where(Job.id == jobs[2]).values(devices=4))
    found = read(api)
    assert found["tunery_jobs_queued", "1", one.project_id] == 2
    assert found["tunery_jobs_queued", "4", one.project_id] == 1
    assert found["tunery_jobs_queued", "1", other.project_id] == 1
    assert 7200 <= found["tunery_queue_oldest_wait_seconds", "1", one.project_id] < 7260
    assert found["tunery_queue_oldest_wait_seconds", "4", one.project_id] < 60
    assert found["tunery_database_read",] == 1


def test_a_job_that_was_given_back_waits_since_then(api: Api, alice: Tenant) -> None:
    job = alice.create_job()["id"]
    with api.sessions.begin() as session:
        session.execute(update(Job).where(Job.id == job).values(created_at=func.now() - timedelta(hours=2)))
    running = ("tunery_jobs_running", "1")
    before = read(api).get(running, 0)
    lease = api.claim(job)
    assert read(api)[running] == before + 1
    with api.sessions.begin() as session:
        lifecycle.release(session, lease, "Not wanted by this test")
    assert read(api)["tunery_queue_oldest_wait_seconds", "1", alice.project_id] < 60


def test_beyond_so_many_projects_the_queues_count_together(api: Api) -> None:
    tenant = api.tenant()
    job = tenant.create_job()
    with api.sessions.begin() as session:
        for number in range(MOST_PROJECTS + 5):
            add_queued_job(session, job["id"], number)
        queue = queries.queue(session)
        session.rollback()
    names = {project for _, project in queue}
    assert len(names) == MOST_PROJECTS + 1
    assert queue[1, OTHERS].number >= 5


def add_queued_job(session: Session, like: str, number: int) -> None:
    """Add a project with a job in the queue that is like another one."""
    project = Project(id=f"proj-{number}", name=f"crowd-{number}")
    session.add(project)
    session.flush()
    row = session.get_one(Job, like)
    values = {
        column.key: getattr(row, column.key) for column in Job.__mapper__.column_attrs if column.key != "id"
    }
    values |= {"project_id": project.id}
    session.add(Job(id=f"{like}{number}", **values))
    session.flush()


def test_stored_bytes_and_used_quotas_are_those_of_the_ledger(api: Api) -> None:
    tenant = api.tenant()
    size = ("tunery_stored_bytes", "file")
    before = read(api).get(size, 0)
    content = (
        b'{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}\n' * 20
    )
    tenant.upload(content)
    assert read(api)[size] == before + len(content)
    assert ("tunery_quota_used_ratio", tenant.project_id) not in read(api)
    tenant.allow(stored_bytes=4 * len(content))
    assert read(api)["tunery_quota_used_ratio", tenant.project_id] == 0.25
    with api.sessions.begin() as session:
        doomed = update(Artifact).where(Artifact.project_id == tenant.project_id)
        session.execute(doomed.values(state="doomed", expires_at=func.now()))
    assert read(api).get(size, 0) == before


def test_trainers_servers_and_webhooks_are_counted(api: Api) -> None:
    before = read(api)
    add_worker(api, "an owner")
    with api.sessions.begin() as session:
        for name, draining, lasts in (("a", False, 60), ("b", True, 60), ("c", False, -1)):
            session.add(
                Server(
                    id=f"server-{name}",
                    address="http://nowhere",
                    host="x",
                    release="1",
                    bases=[],
                    adapters=[],
                    running=0,
                    waiting=0,
                    capacity=1,
                    draining=draining,
                    expires_at=func.now() + timedelta(seconds=lasts),
                )
            )
    found = read(api)
    assert found["tunery_trainers", "1"] == before.get(("tunery_trainers", "1"), 0) + 1
    assert found["tunery_servers", "serving"] == before["tunery_servers", "serving"] + 1
    assert found["tunery_servers", "draining"] == before["tunery_servers", "draining"] + 1
    with api.sessions.begin() as session:
        session.execute(delete(Server))
    admin = api.tenant(role=Role.ADMIN)
    endpoint = admin.http.post(
        "/v1/webhook_endpoints",
        json={"name": "x", "url": "https://example.com/", "event_types": ["fine_tuning.job.failed"]},
    )
    assert endpoint.status_code == 200, endpoint.text
    with api.sessions.begin() as session:
        session.add(
            WebhookDelivery(
                id="whd-1",
                endpoint_id=endpoint.json()["id"],
                event_type="x",
                payload={},
                created_at=func.now() - timedelta(hours=3),
                next_attempt_at=func.now() + timedelta(hours=1),
            )
        )
    found = read(api)
    assert found["tunery_deliveries_waiting",] == before["tunery_deliveries_waiting",] + 1
    assert found["tunery_deliveries_oldest_wait_seconds",] >= 3 * 3600


def test_many_readers_read_the_database_once(api: Api) -> None:
    figures = DatabaseFigures(api.sessions, None)
    list(figures.collect())
    tenant = api.tenant()
    tenant.create_job()
    queued = [family for family in figures.collect() if family.name == declared.JOBS_QUEUED.name]
    projects = {sample.labels["project"] for family in queued for sample in family.samples}
    assert tenant.project_id not in projects  # as it was a moment ago
    assert database.FRESH_SECONDS <= 5


def test_if_only_the_ledger_cannot_be_read_only_its_figures_are_missing(api: Api) -> None:
    tenant = api.tenant()
    tenant.upload()
    with api.sessions.begin() as other:
        other.execute(text("LOCK TABLE artifacts IN ACCESS EXCLUSIVE MODE"))
        found = read(api)
    assert found["tunery_database_read",] == 1
    assert ("tunery_servers", "serving") in found
    assert ("tunery_stored_bytes", "file") not in found
    assert ("tunery_stored_bytes", "file") in read(api)


def test_a_database_that_takes_connections_and_never_answers_does_not_hold_up_the_page() -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        address = f"postgresql://nobody@127.0.0.1:{frozen.getsockname()[1]}/none"
        figures = DatabaseFigures(session_factory(create_database(address)), None, wait_seconds=0.2)
        began = time.monotonic()
        found = {family.name: family.samples[0].value for family in figures.collect()}
        assert found == {"tunery_database_read": 0}
        assert time.monotonic() - began < CONNECT_TIMEOUT / 2


def test_without_a_database_the_page_says_so_and_has_no_old_figures(
    module_servers: EmbeddedServers, closed_port: int
) -> None:
    nowhere = session_factory(create_database(f"postgresql://nobody@127.0.0.1:{closed_port}/none"))
    found = {family.name: family.samples[0].value for family in DatabaseFigures(nowhere, None).collect()}
    assert found == {"tunery_database_read": 0}
