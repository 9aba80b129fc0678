"""The real Prometheus reads a whole service: its figures are right, and each alert fires by its cause."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from sqlalchemy import func, select

from cli.embedded import EmbeddedServers
from core.roles import Role
from core.tables import Artifact, Checkpoint, File
from tests.fixtures.models.tiny import TINY
from tests.fixtures.outside.prometheus import FOLDER, Prometheus, prometheus
from tests.fixtures.paths import REPOSITORY
from tests.fixtures.processes.ports import free_port
from tests.fixtures.processes.resting import REST
from tests.fixtures.service.api import migrated_database, wait_for
from tests.fixtures.service.stack import Stack, Worker

pytestmark = pytest.mark.exhaustive

ALERTS = {rule["alert"] for rule in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"][0]["rules"]}
# An hour is a second here. What is in use is enough: no test may fill the memory or the disk of its machine
LIMITS = {"> 3600": "> 1", "> 0.95": "> 0.0001", "< 0.1": "< 2"}
WORKER_PORT, SERVER_PORT = free_port(), free_port()
SLOWLY = {REST: "0.15"}  # the long job must not end by itself
KILLS = 4
ALERT_SECONDS = 180


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"api_metrics_port": str(free_port())}


@pytest.fixture(scope="module")
def module_servers(own_servers: EmbeddedServers) -> EmbeddedServers:
    """A test here kills them."""
    return own_servers


@pytest.fixture(scope="module")
def database_url(own_servers: EmbeddedServers) -> Iterator[str]:
    with migrated_database(own_servers) as url:
        yield url


@pytest.fixture
def targets(stack: Stack) -> dict[str, str]:
    ports = {"api": stack.api.settings.api_metrics_port, "worker": WORKER_PORT, "server": SERVER_PORT}
    return {program: f"127.0.0.1:{port}" for program, port in ports.items()}


def start_worker(stack: Stack, plan: dict[str, str] | None = None, **settings: str) -> Worker:
    return stack.start_worker(plan, worker_metrics_port=str(WORKER_PORT), **settings)


def test_figures_of_a_job_are_right(stack: Stack, targets: dict[str, str], tmp_path: Path) -> None:
    job_id = stack.create_job(model=TINY, rows=12, epochs=2)
    with stack.sessions() as session:  # the ledger is read when Prometheus first comes
        query = select(func.sum(Artifact.bytes)).where(Artifact.owner_kind == "file")
        file_bytes = session.scalars(query.where(Artifact.state != "doomed")).one()
    with prometheus(tmp_path, targets) as seen:
        project = stack.tenant.project_id
        queued = f'tunery_jobs_queued{{project="{project}", devices="1"}}'
        seen.wait_for_value(queued, 1)
        seen.wait_for_value('tunery_stored_bytes{owner="file"}', float(file_bytes))
        start_worker(stack)
        job = stack.wait_for_status(job_id, "succeeded")
        assert job.trained_tokens
        seen.wait_for_value("tunery_trainer_tokens_total", job.trained_tokens)
        seen.wait_for_value("tunery_trainer_steps_total", len(stack.metrics(job_id)))
        seen.wait_for_value("tunery_trainer_publication_seconds_count", 1)
        seen.wait_for_value("tunery_trainer_claims_total", 1)
        with stack.sessions() as session:
            saved = session.scalars(select(func.count()).where(Checkpoint.job_id == job_id)).one()
        found = seen.value("tunery_trainer_checkpoint_seconds_count")
        assert found is not None
        assert found >= saved > 0
        seen.wait_for_value("tunery_trainer_cohort_jobs", 0)
        wait_for(lambda: not seen.query(queued) and not seen.query("tunery_jobs_running"))
        created = 'tunery_api_requests_total{method="POST", route="/v1/fine_tuning/jobs", status="200"}'
        seen.wait_for_value(created, 1)
        memory = seen.value("tunery_device_memory_used_bytes / tunery_device_memory_bytes")
        assert memory is not None
        assert 0 < memory < 1
        seen.wait_for_value('tunery_trainers{devices="1"}', 1)
        check_dashboard(seen)


def check_dashboard(seen: Prometheus) -> None:
    """Let Prometheus compute every expression of the dashboard."""
    for panel in json.loads((REPOSITORY / "operate/grafana/tunery.json").read_text())["panels"]:
        for target in panel["targets"]:
            seen.query(target["expr"])


def test_each_alert_fires_by_its_cause(
    stack: Stack, targets: dict[str, str], closed_port: int, tmp_path: Path
) -> None:
    url, events = f"http://127.0.0.1:{closed_port}/", ["fine_tuning.job.cancelled"]
    endpoint = {"name": "broken", "url": url, "event_types": events}
    admin = stack.api.tenant(stack.tenant.project, Role.ADMIN)
    assert admin.http.post("/v1/webhook_endpoints", json=endpoint).status_code == 200
    job_id = stack.create_job(model=TINY, rows=400, epochs=50)
    with stack.sessions() as session:
        stored = session.scalars(select(File.bytes).where(File.project_id == stack.tenant.project_id)).one()
    stack.tenant.allow(stored_bytes=stored + 1000)
    fired: set[str] = set()
    with prometheus(tmp_path, targets, LIMITS) as seen:

        def fires(name: str, **labels: str) -> None:
            wait_for(lambda: seen.fires(name, **labels), ALERT_SECONDS)
            fired.add(name)

        fires("JobsWaitAndNobodyClaims", devices="1")
        fires("NotScraped", program="worker")
        fires("NotScraped", program="server")
        fires("QuotaNearlyUsed", project=stack.tenant.project_id)
        worker = start_worker(stack, SLOWLY, max_lost_attempts="100")
        server = stack.start_server(serve_port=str(SERVER_PORT))
        stack.wait_for_step(job_id)
        wait_for(lambda: not seen.fires("JobsWaitAndNobodyClaims"))
        fires("DeviceMemoryNearlyFull")
        fires("DiskNearlyFull")
        kill_trainers(stack, worker, seen, job_id)
        seen.wait_for_value("tunery_trainer_claims_total", 1)  # what the dead ones have counted is gone
        fires("LeasesLost", reason="killed")
        fires("TrainerRestarts")
        seen.wait_for_value('tunery_servers{state="serving"}', 1)
        assert not seen.fires("NoServerAnswers")
        server.kill()
        wait_for(lambda: chats_in_vain(stack) and seen.fires("NoServerAnswers"), ALERT_SECONDS)
        fires("NoServerAnswers")
        stack.wait_for_status(job_id, "running")
        stack.servers.kill("s3")
        fires("ResultsNotSaved", what="checkpoint")
        stack.servers.restart("s3")
        stack.tenant.openai.fine_tuning.jobs.cancel(job_id)
        fires("WebhooksPileUp")
        stack.servers.kill("postgres")
        wait_for(lambda: asked_in_vain(stack) and seen.fires("ApiErrors"))
        fires("ApiErrors")
        fires("DatabaseNotRead")
        stack.servers.restart("postgres")
        wait_for(lambda: not seen.fires("DatabaseNotRead"))
    (alone := tmp_path / "alone").mkdir()
    with prometheus(alone, {}) as seen:
        fires("NoTargets")
    assert fired == ALERTS


def kill_trainers(stack: Stack, worker: Worker, seen: Prometheus, job_id: str) -> None:
    """Kill trainers, each while it holds the job, and wait until Prometheus has seen the next one."""
    for number in range(KILLS):
        owner = stack.last_claim(job_id).owner
        worker.trainer().kill()
        seen.wait_for_value("tunery_trainer_starts_total", number + 2)
        wait_for(
            lambda owner=owner: (
                stack.last_claim(job_id).owner != owner and not stack.last_claim(job_id).ended_at
            )
        )


def chats_in_vain(stack: Stack) -> bool:
    """Ask for a chat, and return whether the API refuses it."""
    chat = {"model": TINY, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    return bool(stack.tenant.http.post("/v1/chat/completions", json=chat).status_code >= 500)


def asked_in_vain(stack: Stack) -> bool:
    """Ask the API for something of the database, and return whether it is away."""
    try:
        return bool(stack.tenant.http.get("/v1/files").status_code >= 500)
    except httpx.HTTPError:
        return False
