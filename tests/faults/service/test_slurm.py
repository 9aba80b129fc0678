"""Workers as jobs of a real Slurm: they follow the queue, give way, and outlive a node."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cli.embedded import EmbeddedServers
from core.tables import Worker
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api, wait_for
from tests.fixtures.service.stack import Stack, stack_on
from tests.fixtures.slurm.cluster import NODES, START_SECONDS, Cluster, cluster
from tests.fixtures.slurm.workers import SlurmWorkers

pytestmark = pytest.mark.exhaustive

WEIGHTS = "adapter_model.safetensors"
STANDARD = {"rows": 40, "epochs": 6}  # 60 steps
ONE, PAIR = "tunery-one-", "tunery-pair-"
FLEETS = {
    "one": {"max": 1, "tasks": False},  # a second worker may begin while the first one is requeued
    "pair": {"devices": 2, "nodes": 2, "max": 1, "tasks": False},
}
NEVER_CLAIMED = 3  # a device class without a worker that trains


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"device_classes": "1,2,3"}


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


@pytest.fixture(scope="module")
def whole_stack(
    module_servers: EmbeddedServers, job_api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    with stack_on(module_servers, job_api, tmp_path_factory.mktemp("slurm")) as stack:
        yield stack


@pytest.fixture(scope="module")
def workers(slurm: Cluster, whole_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> SlurmWorkers:
    return SlurmWorkers(slurm, whole_stack, tmp_path_factory.mktemp("workers"))


@pytest.fixture(scope="module")
def logs(workers: SlurmWorkers) -> Iterator[list[Path]]:
    """The logs of two `tunery slurm` that run at the same time."""
    with ExitStack() as running:
        file = workers.file(FLEETS)
        yield [workers.start(file, running) for _ in range(2)]


@pytest.fixture(scope="module")
def undisturbed(
    slurm: Cluster, workers: SlurmWorkers, logs: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The standard job, whose training nothing disturbs, and the folder with its adapter.

    Meanwhile slurmctld is killed.
    """
    stack = workers.stack
    job_id = create(stack)
    stack.wait_for_step(job_id)
    slurm.kill("slurmctld")
    wait_for(lambda: all("look_failed" in log.read_text() for log in logs), START_SECONDS)
    folder = stack.assert_succeeded_exactly_once(job_id, tmp_path_factory.mktemp("undisturbed"))
    slurm.start("slurmctld")
    wait_for(slurm.answers, START_SECONDS)
    return job_id, folder


def create(stack: Stack, **training: object) -> str:
    return stack.create_job(model=TINY, training=training, **STANDARD)


def begun(slurm: Cluster, fleet: str) -> list[dict[str, Any]]:
    """Return the Slurm jobs of a fleet that have begun.

    Controllers that look at once may both submit a worker. The second one is cancelled before it begins.
    """
    return [job for job in slurm.jobs(fleet) if job["job_state"] != ["CANCELLED"]]


def test_a_job_starts_one_worker_which_trains_on_while_slurmctld_is_away(
    slurm: Cluster, workers: SlurmWorkers, undisturbed: tuple[str, Path]
) -> None:
    """Two controllers look at the same queue."""
    assert [claim.outcome for claim in workers.stack.claims(undisturbed[0])] == ["succeeded"]
    assert [job["job_state"] for job in begun(slurm, ONE)] == [["RUNNING"]]
    assert slurm.states(PAIR) == []


def test_a_job_gives_way_and_outlives_a_node_and_its_worker_ends_when_it_is_idle(
    slurm: Cluster, workers: SlurmWorkers, undisturbed: tuple[str, Path], tmp_path: Path
) -> None:
    """The adapter is the same, to the bit, as without a fault. One Slurm job does it all."""
    stack = workers.stack
    job_id = create(stack)
    stack.wait_for_step(job_id, 5)
    (worker,) = [job for job in slurm.jobs(ONE) if job["job_state"] == ["RUNNING"]]
    urgent = slurm.occupy(worker["nodes"], 600)
    wait_for(lambda: slurm.states("urgent") == ["RUNNING"], START_SECONDS)
    released = stack.claims(job_id)[0]
    assert released.outcome == "released"
    stack.wait_for_step(job_id, released.step + 1)
    assert f"Resumed from the checkpoint at step {released.step}" in stack.events(job_id)
    running = wait_for(
        lambda: [job for job in slurm.jobs(ONE) if job["job_state"] == ["RUNNING"]], START_SECONDS
    )
    (requeued,) = running
    assert requeued["nodes"] != worker["nodes"]
    slurm.run("scancel", urgent)
    slurm.kill(requeued["nodes"])
    folder = stack.assert_succeeded_exactly_once(job_id, tmp_path)
    assert [claim.outcome for claim in stack.claims(job_id)] == ["released", "lost", "succeeded"]
    assert (folder / WEIGHTS).read_bytes() == (undisturbed[1] / WEIGHTS).read_bytes()
    slurm.start(requeued["nodes"])
    wait_for(lambda: slurm.is_idle(*NODES), START_SECONDS)
    (ended,) = [job for job in slurm.jobs(ONE) if job["job_id"] == worker["job_id"]]
    assert ended["job_state"] == ["COMPLETED"]
    assert ended["restart_cnt"] == 2
    with stack.sessions() as session:
        assert session.query(Worker).count() == 0
    assert "worker_idle" in workers.output()


def test_a_job_on_two_devices_trains_over_two_nodes_as_on_one(
    slurm: Cluster, workers: SlurmWorkers, undisturbed: tuple[str, Path], tmp_path: Path
) -> None:
    stack = workers.stack
    job_id = create(stack, devices=2, fsdp="full_shard")
    stack.assert_succeeded_exactly_once(job_id, tmp_path)
    (pair,) = begun(slurm, PAIR)
    assert pair["node_count"]["number"] == 2
    assert stack.losses(job_id) == pytest.approx(stack.losses(undisturbed[0]), rel=0.02)
    wait_for(lambda: slurm.is_idle(*NODES), START_SECONDS)
    assert [job["job_state"] for job in begun(slurm, PAIR)] == [["COMPLETED"]]


def script(folder: Path, command: str) -> Path:
    (file := folder / "worker.sh").write_text(f"#!/bin/sh\n{command}\n")
    return file


def test_controllers_that_look_at_once_start_no_worker_twice(
    slurm: Cluster, workers: SlurmWorkers, tmp_path: Path
) -> None:
    stack = workers.stack
    jobs = [create(stack, devices=NEVER_CLAIMED) for _ in range(3)]
    fleets = {"sleepy": {"devices": NEVER_CLAIMED, "max": 3}}
    file = workers.file(fleets, script(tmp_path, "sleep 600"))
    workers.looks(file, 3)
    workers.look(file)

    def counted() -> list[str]:
        return [state for state in slurm.states("tunery-sleepy-") if state != "CANCELLED"]

    wait_for(lambda: counted() == ["PENDING", "RUNNING", "RUNNING"], START_SECONDS)
    assert workers.look(file) == {"wanted": {"sleepy": 3}, "submitted": [], "cancelled": []}
    for job_id in jobs:
        stack.tenant.openai.fine_tuning.jobs.cancel(job_id)
    assert len(workers.look(file)["cancelled"]) == 1
    wait_for(lambda: counted() == ["RUNNING", "RUNNING"], START_SECONDS)
    slurm.run("scancel", *(str(job["job_id"]) for job in slurm.jobs("tunery-sleepy-")))


def test_a_worker_that_fails_is_not_submitted_again_and_again(
    slurm: Cluster, workers: SlurmWorkers, tmp_path: Path
) -> None:
    stack = workers.stack
    job_id = create(stack, devices=NEVER_CLAIMED)
    file = workers.file({"broken": {"devices": NEVER_CLAIMED, "max": 1}}, script(tmp_path, "exit 1"))
    assert workers.look(file)["submitted"] == ["tunery-broken-1"]
    wait_for(lambda: slurm.states("tunery-broken-") == ["FAILED"], START_SECONDS)
    assert workers.look(file)["submitted"] == []
    stack.tenant.openai.fine_tuning.jobs.cancel(job_id)
