"""Workers as jobs of a real Slurm: they follow the queue, give way, and outlive a node."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli.embedded import EmbeddedServers
from core.tables import Worker
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api, wait_for
from tests.fixtures.service.stack import JOB_SECONDS, Stack, stack_on
from tests.fixtures.slurm.cluster import NODES, START_SECONDS, Cluster, cluster
from tests.fixtures.slurm.workers import SlurmWorkers

pytestmark = pytest.mark.exhaustive

WEIGHTS = "adapter_model.safetensors"
STANDARD = {"rows": 40, "epochs": 8}  # 80 steps
ONE, PAIR = "tunery-one-", "tunery-pair-"
FLEETS = {
    "one": {"max": 2, "tasks": False},
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
    workers: SlurmWorkers, logs: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The standard job that nothing disturbed, and the folder with its adapter."""
    job_id = create(workers.stack)
    return job_id, workers.stack.assert_succeeded_exactly_once(job_id, tmp_path_factory.mktemp("undisturbed"))


def create(stack: Stack, size: dict[str, int] = STANDARD, **training: object) -> str:
    return stack.create_job(model=TINY, training=training, **size)


def test_a_job_starts_one_worker_that_ends_when_it_is_idle(
    slurm: Cluster, workers: SlurmWorkers, undisturbed: tuple[str, Path]
) -> None:
    """Two controllers look at the same queue."""
    wait_for(lambda: slurm.is_idle(*NODES), START_SECONDS)
    assert [state for state in slurm.states(ONE) if state != "CANCELLED"] == ["COMPLETED"]
    assert slurm.states(PAIR) == []
    with workers.stack.sessions() as session:
        assert session.query(Worker).count() == 0
    assert "worker_idle" in workers.output()


def test_a_job_gives_way_to_one_of_higher_priority_and_goes_on_exactly_where_it_was(
    slurm: Cluster, workers: SlurmWorkers, undisturbed: tuple[str, Path], tmp_path: Path
) -> None:
    stack = workers.stack
    job_id = create(stack)
    stack.wait_for_step(job_id, 5)
    (worker,) = [job for job in slurm.jobs(ONE) if job["job_state"] == ["RUNNING"]]
    urgent = slurm.occupy(worker["nodes"], 600)
    wait_for(lambda: slurm.states("urgent") == ["RUNNING"], START_SECONDS)
    assert [claim.outcome for claim in stack.claims(job_id)][:1] == ["released"]
    folder = stack.assert_succeeded_exactly_once(job_id, tmp_path)
    slurm.run("scancel", urgent)
    assert [claim.outcome for claim in stack.claims(job_id)] == ["released", "succeeded"]
    step = stack.claims(job_id)[0].step
    assert f"Resumed from the checkpoint at step {step}" in stack.events(job_id)
    assert (folder / WEIGHTS).read_bytes() == (undisturbed[1] / WEIGHTS).read_bytes()
    (requeued,) = [job for job in slurm.jobs(ONE) if job["job_id"] == worker["job_id"]]
    assert requeued["restart_cnt"] == 1
    assert requeued["nodes"] != worker["nodes"]


def test_a_node_that_dies_loses_no_job(
    slurm: Cluster, workers: SlurmWorkers, undisturbed: tuple[str, Path], tmp_path: Path
) -> None:
    stack = workers.stack
    wait_for(lambda: slurm.is_idle(*NODES), START_SECONDS)
    job_id = create(stack)
    wait_for(lambda: stack.checkpoints(job_id), JOB_SECONDS)
    node = slurm.node_of(ONE)
    slurm.kill(node)
    folder = stack.assert_succeeded_exactly_once(job_id, tmp_path)
    assert [claim.outcome for claim in stack.claims(job_id)] == ["lost", "succeeded"]
    assert (folder / WEIGHTS).read_bytes() == (undisturbed[1] / WEIGHTS).read_bytes()
    slurm.start(node)
    wait_for(lambda: slurm.is_idle(*NODES), START_SECONDS)


def failures(log: Path) -> int:
    return log.read_text().count("look_failed")


def test_a_controller_that_meets_no_slurmctld_changes_nothing_and_the_training_goes_on(
    slurm: Cluster, workers: SlurmWorkers, logs: list[Path], tmp_path: Path
) -> None:
    stack = workers.stack
    job_id = create(stack)
    stack.wait_for_step(job_id)
    before = {job["job_id"] for job in slurm.jobs(ONE)}
    failed = [failures(log) for log in logs]
    slurm.kill("slurmctld")
    wait_for(lambda: all(failures(log) > few for log, few in zip(logs, failed, strict=True)), START_SECONDS)
    stack.assert_succeeded_exactly_once(job_id, tmp_path)
    assert len(stack.claims(job_id)) == 1
    slurm.start("slurmctld")
    wait_for(lambda: slurm.is_idle(*NODES), START_SECONDS)
    assert {job["job_id"] for job in slurm.jobs(ONE)} <= before


def test_a_job_on_two_devices_trains_over_two_nodes_as_on_one(
    slurm: Cluster, workers: SlurmWorkers, undisturbed: tuple[str, Path], tmp_path: Path
) -> None:
    stack = workers.stack
    job_id = create(stack, devices=2, fsdp="full_shard")
    stack.assert_succeeded_exactly_once(job_id, tmp_path)
    (pair,) = slurm.jobs(PAIR)
    assert pair["node_count"]["number"] == 2
    assert stack.losses(job_id) == pytest.approx(stack.losses(undisturbed[0]), rel=0.02)
    wait_for(lambda: slurm.is_idle(*NODES), START_SECONDS)
    assert slurm.states(PAIR) == ["COMPLETED"]


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
