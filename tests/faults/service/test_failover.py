"""A failover in the middle of a job: the primary's node is killed, and the other one takes over."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from cli.embedded import EmbeddedServers
from core.database import create_database
from core.schema import migrate
from faults.checker import Client, check, violations
from faults.history import record_history
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.postgres.patroni import Cluster, Node, patroni
from tests.fixtures.processes.resting import REST
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.stack import JOB_SECONDS, Stack, job_api_on, stack_on

pytestmark = pytest.mark.exhaustive

JOBS = "/v1/fine_tuning/jobs"
SLOWLY = {REST: "0.1"}


class Poster(threading.Thread):
    """A client that creates one job after the other, which nobody trains. It keeps what was acknowledged."""

    def __init__(self, client: Client, file: str) -> None:
        super().__init__(daemon=True)
        self._client, self._file = client, file
        self._ended = threading.Event()
        self.acknowledged: list[tuple[float, str]] = []

    def run(self) -> None:
        while not self._ended.wait(0.02):
            body = {"model": TINY, "training_file": self._file, "training": {"devices": 2}}
            with suppress(httpx.HTTPError):
                answer = self._client.tenant.http.post(JOBS, json=body)
                if answer.status_code == 200:
                    self.acknowledged.append((time.monotonic(), answer.json()["id"]))
                    self._client.jobs.add(answer.json()["id"])

    def stop(self) -> None:
        self._ended.set()
        self.join(120)

    def since(self, moment: float) -> list[tuple[float, str]]:
        return [each for each in list(self.acknowledged) if each[0] > moment]


@contextmanager
def posting(stack: Stack, client: Client) -> "Iterator[Poster]":
    poster = Poster(client, stack.tenant.upload())
    poster.start()
    yield poster
    poster.stop()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with patroni() as cluster:
        migrate(engine := create_database(cluster.url()))
        engine.dispose()
        yield cluster


@contextmanager
def service(servers: EmbeddedServers, cluster: Cluster, folder: Path) -> Iterator[Stack]:
    catalog = write_base(folder)
    options = {"catalog_file": catalog, "device_classes": "1,2"}
    with job_api_on(servers, cluster.url(), **options) as api, stack_on(servers, api, folder) as stack:
        yield stack


def fail_over(cluster: Cluster, poster: Poster) -> tuple[Node, float]:
    """Kill the primary's node. Return it, and the seconds until a client's request is answered again."""
    died = cluster.primary()
    (other,) = [node for node in cluster.nodes if node is not died]
    died.kill()
    moment = time.monotonic()
    cluster.nodes.remove(died)
    again = wait_for(lambda: (found := poster.since(moment + 1))[4:] and found, JOB_SECONDS)
    assert cluster.primary() is other
    return died, again[0][0] - moment


def test_a_failover_loses_nothing_that_was_acknowledged_and_the_job_goes_on(
    servers: EmbeddedServers, cluster: Cluster, tmp_path: Path
) -> None:
    with service(servers, cluster, tmp_path) as stack:
        with stack.sessions.begin() as session:
            record_history(session)
        client = Client(stack.tenant)
        job_id = stack.create_job(rows=40, epochs=6, model=TINY)
        client.jobs.add(job_id)
        stack.start_worker(SLOWLY)
        stack.wait_for_step(job_id, 5)
        with posting(stack, client) as poster:
            wait_for(lambda: len(poster.acknowledged) >= 20, 60)
            cluster.standby(synchronous=True)
            assert stack.job(job_id).status == "running", "the job ended before the failover"
            died, away = fail_over(cluster, poster)
        stack.assert_succeeded_exactly_once(job_id, tmp_path)
        check(stack.api, [client])
        print(f"synchronous: {len(client.jobs)} jobs acknowledged, none lost; away for {away:.1f} s")
        cluster.nodes.append(died)
        died.start()


def test_without_synchronous_commit_what_the_standby_had_not_got_is_lost_and_nothing_else(
    servers: EmbeddedServers, cluster: Cluster, tmp_path: Path
) -> None:
    """The primary acknowledges for a while what it does not send: its sender is frozen."""
    cluster.set(synchronous_mode=False)
    cluster.standby(synchronous=False)
    with service(servers, cluster, tmp_path) as stack:
        client = Client(stack.tenant)
        with posting(stack, client) as poster:
            wait_for(lambda: len(poster.acknowledged) >= 20, 60)
            cluster.primary().sender().suspend()
            frozen = time.monotonic()
            wait_for(lambda: len(poster.since(frozen + 1)) >= 10, 60)
            unsent = {job_id for _, job_id in poster.since(frozen + 1)}
            _, away = fail_over(cluster, poster)
        found = violations(stack.api, [client])
        lost = {each.split()[0] for each in found if "was acknowledged" in each}
        assert lost, "nothing was lost, so nothing was shown"
        assert all("was acknowledged" in each for each in found), found
        acknowledged = {job_id for _, job_id in poster.acknowledged}
        seconds = max(at for at, each in poster.acknowledged if each in lost) - frozen
        print(f"asynchronous: {len(lost)} of {len(acknowledged)} lost, of {seconds:.1f} s; {away:.1f} s")
        assert unsent <= lost, "what was acknowledged before the freeze was counted"
