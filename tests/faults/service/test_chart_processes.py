"""Each container of the Helm chart as a process: its probes pass, and it ends within its grace."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import func, inspect, select
from sqlalchemy.engine import Engine

from cli.embedded import EmbeddedServers
from core.database import create_database
from core.secrets.vault import Vault
from core.storage.object_store import ObjectStore
from core.tables import Server, Worker
from tests.fixtures.outside.chart import Rendered, container, render
from tests.fixtures.outside.chart_pods import Pod, running, variables
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.servers import database_on

pytestmark = pytest.mark.exhaustive

WITHOUT_DEVICE = {"gpuResource": ""}
RANK = "metadata.labels['leaderworkerset.sigs.k8s.io/worker-index']"
FIELDS = {"status.podIP": "127.0.0.1", "LWS_LEADER_ADDRESS": "127.0.0.1"}
SECONDS = 240
ENDED = (0, -signal.SIGTERM)  # uvicorn sends itself the signal again once it has stopped


@dataclass
class Installation:
    """The chart's objects, and what its pods find in the cluster."""

    rendered: Rendered
    secrets: dict[str, dict[str, str]]
    engine: Engine
    folder: Path

    def pod(self, name: str, rank: int = 0) -> AbstractContextManager[Pod]:
        """Start a pod. Of a group, it is the one with this rank."""
        fields = FIELDS | {RANK: str(rank)}
        return running(self.rendered.pods[name], self.secrets, fields, self.folder / f"{name}-{rank}.log")

    def wait_for_row(self, table: type[Server | Worker], **values: object) -> None:
        """Wait until a process has reported itself in the database."""
        wait_for(lambda: self.rows(table, **values), SECONDS)

    def rows(self, table: type[Server | Worker], **values: object) -> int:
        with self.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(table).filter_by(**values)) or 0


@pytest.fixture(scope="module")
def empty(servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation before its hook has run, on an empty database and without a bucket."""
    folder = tmp_path_factory.mktemp("chart")
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    with database_on(servers) as url:
        engine = create_database(url)
        rendered = render(
            s3={"endpointUrl": servers.urls["s3_endpoint_url"], "bucket": f"chart-{uuid4().hex[:8]}"},
            settings={
                "TUNERY_HOME": str(folder / "home"),
                "TUNERY_HOST": "127.0.0.1",
                "TUNERY_SERVE_HOST": "127.0.0.1",
            },
            api={"port": free_port()},
            chatPort=free_port(),
            workers={
                "gpu": WITHOUT_DEVICE,
                "group": {**WITHOUT_DEVICE, "devices": 2, "group": {"size": 2, "port": free_port()}},
            },
            servers={"gpu": WITHOUT_DEVICE},
        )
        secrets = {
            "tunery-database": {"url": url},
            "tunery-broker": {"url": servers.urls["broker_url"]},
            "tunery-keys": {"keys": Vault.new_key()},
            "tunery-s3": dict(
                zip(("access-key-id", "secret-access-key"), map(servers.environment.get, keys), strict=True)
            ),
        }
        yield Installation(rendered, secrets, engine, folder)
        engine.dispose()


@pytest.fixture(scope="module")
def installation(empty: Installation) -> Installation:
    """An installation whose hook has run."""
    assert not inspect(empty.engine).get_table_names()
    with empty.pod("tunery-migrate") as hook:
        assert hook.process.wait(SECONDS) == 0
    return empty


def test_the_hook_makes_the_tables_and_the_bucket(
    installation: Installation, servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"jobs", "tasks", "servers", "workers"} <= set(inspect(installation.engine).get_table_names())
    for name, value in servers.environment.items():
        monkeypatch.setenv(name, value)
    found = variables(installation.rendered.pods["tunery-migrate"], installation.secrets, FIELDS)
    ObjectStore(found["TUNERY_S3_ENDPOINT_URL"], found["TUNERY_S3_BUCKET"]).check()


def test_the_api_becomes_ready_and_ends_within_its_grace(installation: Installation) -> None:
    with installation.pod("tunery-api") as api:
        api.become_ready()
        assert api.end() in ENDED
        assert "Application shutdown complete." in api.log()


def test_a_server_reports_the_address_of_its_pod_and_ends_within_its_grace(
    installation: Installation,
) -> None:
    (port,) = container(installation.rendered.pods["tunery-server-gpu"])["ports"]
    with installation.pod("tunery-server-gpu") as server:
        server.become_ready()
        installation.wait_for_row(Server, address=f"http://127.0.0.1:{port['containerPort']}")
        assert server.end() in ENDED
        assert installation.rows(Server) == 0


def test_a_worker_reports_itself_and_ends_within_its_grace(installation: Installation) -> None:
    with installation.pod("tunery-worker-gpu") as worker:
        worker.become_ready()
        installation.wait_for_row(Worker, devices=1)
        assert worker.end() == 0
        assert installation.rows(Worker) == 0


def test_machines_of_a_group_find_each_other_and_end_within_their_grace(installation: Installation) -> None:
    with ExitStack() as stack:
        machines = [stack.enter_context(installation.pod("tunery-worker-group", rank)) for rank in range(2)]
        installation.wait_for_row(Worker, devices=2)
        for machine in machines:
            machine.process.terminate()
        assert [machine.end() for machine in machines] == [0, 0]
