"""Jobs under `tunery up`, on a tiny base model, while parts of it are killed, or all of it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import APIError, OpenAI

from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.processes.ports import free_port
from tests.fixtures.processes.processes import named
from tests.fixtures.service.servers import server_folder
from tests.fixtures.service.stack import JOB_SECONDS, short_rows
from tests.fixtures.service.up import Up, kept_running, kill_all, processes_of, running, until

LONG = {"rows": 800, "epochs": 50}  # 10,000 steps: it does not end while a test looks at it
MIDDLE = {"rows": 200, "epochs": 3}  # 150 steps


class Service:
    """An `up` and what a client of it sees, also while it is away."""

    def __init__(self, up: Up) -> None:
        self.up = up
        key = (up.home / "api-key").read_text().strip()
        self.client = OpenAI(base_url=up.base_url, api_key=key, max_retries=0, timeout=30)

    def create_job(self, rows: int, epochs: int) -> str:
        file = self.client.files.create(file=("train.jsonl", short_rows(rows)), purpose="fine-tune")
        options: Any = {"hyperparameters": {"n_epochs": epochs, "batch_size": 4}}
        method: Any = {"type": "supervised", "supervised": options}
        return self.client.fine_tuning.jobs.create(model=TINY, training_file=file.id, method=method).id

    def job(self, job_id: str) -> dict[str, Any]:
        """{} while the API or its database is away."""
        try:
            return self.client.fine_tuning.jobs.retrieve(job_id).to_dict()
        except APIError:
            return {}

    def step(self, job_id: str) -> int:
        return int(self.job(job_id).get("progress", {}).get("step", 0))

    def wait_for_step(self, job_id: str, step: int = 1) -> None:
        until(lambda: self.step(job_id) >= step, f"step {step}", JOB_SECONDS)

    def wait_for_status(self, job_id: str, status: str) -> None:
        until(lambda: self.job(job_id).get("status") == status, status, JOB_SECONDS)

    def events(self, job_id: str) -> list[str]:
        """Oldest first, without the metrics."""
        listed = list(self.client.fine_tuning.jobs.list_events(job_id, limit=1000))
        return [event.message for event in reversed(listed) if event.type != "metrics"]


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("model")
    catalog = write_base(folder)
    return {
        "TUNERY_CATALOG_FILE": str(catalog),
        "TUNERY_LEASE_SECONDS": "6",
        "TUNERY_SCAN_SECONDS": "0.5",
        "TUNERY_CHECKPOINT_SECONDS": "1000",
    }


@pytest.fixture(scope="module")
def ups(variables: dict[str, str]) -> Iterator[Callable[[], Up]]:
    with server_folder() as folder, kept_running(folder / "home", **variables) as up:
        yield up


@pytest.fixture
def service(ups: Callable[[], Up]) -> Service:
    return Service(ups())


@pytest.mark.exhaustive
def test_a_killed_worker_loses_no_step_of_its_jobs(service: Service) -> None:
    """Its trainer saves its place and gives the job back, before the next worker begins."""
    job_id = service.create_job(**LONG)
    service.wait_for_step(job_id, 3)
    worker = service.up.part("worker")
    (trainer,) = named("worker.trainer.train.trainer", worker.children())
    worker.kill()
    until(lambda: any("Resumed" in said for said in service.events(job_id)), "the job to go on", JOB_SECONDS)
    trainer.wait(JOB_SECONDS)
    events = service.events(job_id)
    service.client.fine_tuning.jobs.cancel(job_id)
    assert "The worker shuts down; the job waits for a worker" in events
    (resumed,) = [said for said in events if "Resumed from the checkpoint at step" in said]
    assert int(resumed.split()[-1]) >= 3


@pytest.mark.exhaustive
def test_servers_that_die_are_started_again_and_jobs_outlive_them(service: Service) -> None:
    job_id = service.create_job(**LONG)
    service.wait_for_step(job_id)
    for name in ("valkey", "s3", "postgres"):
        server, times = service.up.server(name), _restarts(service.up, name)
        server.kill()
        until(
            lambda name=name, times=times: _restarts(service.up, name) > times, f"{name} again", JOB_SECONDS
        )  # type: ignore[misc]
        assert service.up.server(name).pid != server.pid
        said = service.up.stderr.read_text()
        assert f"The server {name} died (killed by SIGKILL); starting it again in 0.5 s." in said
    service.wait_for_step(job_id, service.step(job_id) + 10)
    # A pause needs the database, and writes a checkpoint to the store; a resume rings the broker's bell
    jobs = service.client.fine_tuning.jobs
    jobs.pause(job_id)
    service.wait_for_status(job_id, "paused")
    jobs.resume(job_id)
    service.wait_for_status(job_id, "running")
    jobs.cancel(job_id)
    assert "broker_unreachable" not in (service.up.home / "logs" / "api.log").read_text()


def _restarts(up: Up, name: str) -> int:
    """Return how often the server has been started again, in all tries of these tests."""
    return up.stderr.read_text().count(f"The server {name} runs again")


@pytest.mark.exhaustive
def test_the_next_up_finishes_the_job_of_one_that_was_killed_whole(
    service: Service, variables: dict[str, str]
) -> None:
    """It kills what the other tests share."""
    key = (service.up.home / "api-key").read_text()
    job_id = service.create_job(**MIDDLE)
    service.wait_for_step(job_id)
    kill_all(service.up)
    with running(service.up.home, free_port(), **variables) as up:
        again = Service(up)
        again.wait_for_status(job_id, "succeeded")
        events = again.events(job_id)
        adapters = up.get("/adapters").json()["data"]
        assert (up.home / "api-key").read_text() == key
    assert processes_of(service.up.home) == []
    assert events.count("The job has successfully completed") == 1
    assert "Fine-tuning job started again (attempt 2)" in events
    assert [adapter["job_id"] for adapter in adapters].count(job_id) == 1
