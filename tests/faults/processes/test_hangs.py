"""A trainer whose training thread does not come back, while its other threads live on and renew its lease."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.embedded import EmbeddedServers
from core.settings import Settings
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.processes import hanging
from tests.fixtures.processes.warm import nursery
from tests.fixtures.service.api import Api, wait_for
from tests.fixtures.service.stack import JOB_SECONDS, job_api_on
from worker.process.environment import TRAINER_ENVIRONMENT
from worker.supervisor.supervisor import Supervisor

pytestmark = pytest.mark.family(1)

HANG_SECONDS = 5.0
LEASE_SECONDS = 6.0  # a busy machine keeps it, so that no attempt is lost but by a hang
LOSSES = 2  # that fail a job


def supervisor_of(api: Api, folder: Path) -> Supervisor:
    """Its trainers hang while they compute, if it is to be."""
    settings = api.settings.model_copy(
        update={
            "hang_seconds": HANG_SECONDS,
            "lease_seconds": LEASE_SECONDS,
            "scan_seconds": 0.2,
            "max_lost_attempts": LOSSES,
        }
    )
    named = ("database_url", "s3_endpoint_url", "s3_bucket", "catalog_file", "hang_seconds", "lease_seconds")
    variables = {f"TUNERY_{name.upper()}": str(getattr(settings, name)) for name in named}

    def start(_: Settings, owner: str, channel: socket.socket) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", hanging.__name__, str(folder), owner]
        environment = {**TRAINER_ENVIRONMENT, **os.environ, **variables}
        popen: type[subprocess.Popen[bytes]] = nursery().subprocess.Popen
        return popen(command, stdin=channel.fileno(), start_new_session=True, env=environment)

    return Supervisor(settings, api.sessions, start)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("lives", "status"), [(1, "succeeded"), (LOSSES, "failed")])
def test_a_hanging_trainer_is_replaced_and_a_job_that_hangs_each_one_fails(
    servers: EmbeddedServers, database_url: str, tmp_path: Path, lives: int, status: str
) -> None:
    catalog = write_base(tmp_path)
    for life in range(lives):
        (tmp_path / f"hang-{life}").touch()
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        tenant = api.tenant()
        job_id = tenant.create_job(model=TINY)["id"]
        supervisor = supervisor_of(api, tmp_path)
        supervisor.start()
        try:
            wait_for(lambda: tenant.job(job_id)["status"] in ("succeeded", "failed"), JOB_SECONDS)
        finally:
            supervisor.stop()
        job = tenant.job(job_id)
        assert (job["status"], (job["error"] or {}).get("code")) == (
            status,
            "worker_lost" if status == "failed" else None,
        )
        messages = [event.message for event in tenant.openai.fine_tuning.jobs.list_events(job_id)]
        assert sum("The trainer hung while it computed" in message for message in messages) == lives
