"""Jobs on several devices in the real service: processes on gloo stand for them, on a tiny base model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from cli.embedded import EmbeddedServers
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.stack import (
    JOB_SECONDS,
    Stack,
    Worker,
    cancel_all,
    job_api_on,
    short_rows,
    stack_on,
)

pytestmark = pytest.mark.family(1)

WEIGHTS = "adapter_model.safetensors"
SHORT = {"rows": 12, "epochs": 2}  # 6 steps
MIDDLE = {"rows": 60, "epochs": 3}  # 45 steps, and a checkpoint after every 15
LONG = {"rows": 400, "epochs": 50}  # 5,000 steps: it does not end while a test looks at others
BOTH = {"devices": 2}
SHARDED = {"devices": 2, "fsdp": "full_shard"}


@pytest.fixture(scope="module")
def whole_stack(
    servers: EmbeddedServers, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """With a worker of one device and one of two."""
    folder = tmp_path_factory.mktemp("devices")
    catalog = write_base(folder, dtype="fp32")  # so that differences show
    with (
        job_api_on(servers, database_url, catalog_file=catalog, device_classes="1,2") as api,
        stack_on(servers, api, folder) as stack,
    ):
        start(stack)
        start(stack, devices="2")
        yield stack


@pytest.fixture
def stack(whole_stack: Stack) -> Iterator[Stack]:
    yield whole_stack
    cancel_all(whole_stack.api, whole_stack.tenant)


@pytest.fixture(scope="module")
def on_one(whole_stack: Stack) -> str:
    """A job of MIDDLE size that one device trained."""
    job_id = create(whole_stack, MIDDLE)
    whole_stack.wait_for_status(job_id, "succeeded")
    return job_id


def start(stack: Stack, **settings: str) -> Worker:
    return stack.start_worker(checkpoint_seconds="1000", **settings)


def create(stack: Stack, size: dict[str, int], training: dict[str, Any] | None = None, **body: Any) -> str:
    validation = stack.tenant.upload(short_rows(10))
    body = {"training": training or {}, "validation_file": validation, **body}
    return stack.create_job(**size, model=TINY, **body)


def assert_as_on_one(stack: Stack, job_id: str, on_one: str, into: Path) -> None:
    """The losses and the adapter, to rounding."""
    mine, theirs = (
        load_file(stack.assert_succeeded_exactly_once(job, into) / WEIGHTS) for job in (job_id, on_one)
    )
    assert stack.losses(job_id) == pytest.approx(stack.losses(on_one), rel=1e-3)
    flat, other = (torch.cat([tensors[name].flatten() for name in theirs]) for tensors in (mine, theirs))
    assert (flat - other).norm() < 1e-2 * other.norm()
    assert validation_loss(stack, job_id) == pytest.approx(validation_loss(stack, on_one), rel=1e-3)


def validation_loss(stack: Stack, job_id: str) -> float:
    (adapter,) = stack.adapters(job_id)
    return float(adapter.training["full_valid_loss"])


@pytest.mark.exhaustive
@pytest.mark.parametrize(("training", "decoder"), [(BOTH, "fast"), (SHARDED, "portable")])
def test_a_job_on_two_devices_ends_as_on_one(
    stack: Stack, on_one: str, tmp_path: Path, training: dict[str, Any], decoder: str
) -> None:
    job_id = create(stack, MIDDLE, training)
    assert_as_on_one(stack, job_id, on_one, tmp_path)
    (adapter,) = stack.adapters(job_id)
    assert adapter.training["decoder"] == decoder
    assert stack.last_claim(job_id).owner != stack.last_claim(on_one).owner


@pytest.mark.exhaustive
def test_jobs_join_leave_pause_and_fail_while_others_go_on(stack: Stack, on_one: str, tmp_path: Path) -> None:
    jobs = stack.tenant.openai.fine_tuning.jobs
    stays = create(stack, LONG, BOTH)
    stack.wait_for_step(stays)
    cancelled, paused = create(stack, LONG, BOTH), create(stack, MIDDLE, BOTH)
    for job_id in (cancelled, paused):
        stack.wait_for_step(job_id)
    jobs.cancel(cancelled)
    jobs.pause(paused)
    hyperparameters = {"n_epochs": 5, "batch_size": 4, "learning_rate_multiplier": 1000.0}
    bursting = {"learning_rate": 1.0, "weight_decay": 1.0, "max_grad_norm": 1e30, "warmup_ratio": 0.0}
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    bursts = create(stack, SHORT, {**BOTH, **bursting}, method=method)
    error = stack.wait_for_status(bursts, "failed").error
    assert error is not None
    assert error["code"] == "non_finite_loss"
    stack.wait_for_status(paused, "paused")
    jobs.resume(paused)
    assert_as_on_one(stack, paused, on_one, tmp_path)
    assert stack.job(cancelled).status == "cancelled"
    stack.wait_for_step(stays, stack.last_claim(stays).step + 20)
    assert len(stack.claims(stays)) == 1


@pytest.mark.exhaustive
def test_an_adapter_that_cannot_be_attached_fails_its_job_and_no_process(
    stack: Stack, tmp_path: Path
) -> None:
    """All processes meet it, and all take the next job."""
    processes = stack.workers[1].processes(2)
    refused = create(stack, SHORT, BOTH, adapter={"type": "lora", "target_modules": ["nothing_of_this_name"]})
    error = stack.wait_for_status(refused, "failed").error
    assert error is not None
    assert error["code"] == "invalid_adapter"
    stack.assert_succeeded_exactly_once(create(stack, SHORT, BOTH), tmp_path)
    assert all(process.is_running() for process in processes)


@pytest.mark.exhaustive
def test_processes_that_wait_for_a_job_use_no_core(stack: Stack) -> None:
    processes = stack.workers[1].processes(2)
    for process in processes:
        assert process.cpu_percent(interval=1) < 30


@pytest.mark.exhaustive
def test_a_killed_process_ends_its_group_and_the_job_goes_on(
    stack: Stack, on_one: str, tmp_path: Path
) -> None:
    job_id = create(stack, MIDDLE, BOTH)
    processes = stack.workers[1].processes(2)
    wait_for(lambda: stack.checkpoints(job_id), JOB_SECONDS)
    processes[1].kill()
    _, alive = psutil.wait_procs(processes, 120)
    assert not alive
    assert_as_on_one(stack, job_id, on_one, tmp_path)
    assert [claim.outcome for claim in stack.claims(job_id)] == ["lost", "succeeded"]
    assert any(event.startswith("Resumed from the checkpoint") for event in stack.events(job_id))


@pytest.mark.exhaustive
def test_a_job_given_back_by_one_machine_goes_on_over_two(stack: Stack, on_one: str, tmp_path: Path) -> None:
    """The last test here: the machines' workers take the former one's place."""
    job_id = create(stack, MIDDLE, SHARDED)
    stack.wait_for_step(job_id)
    processes = stack.workers[1].processes(2)
    assert stack.workers[1].stop() == 0
    assert not any(process.is_running() for process in processes)
    step = stack.last_claim(job_id).step
    assert stack.last_claim(job_id).outcome == "released"
    assert stack.checkpoints(job_id)[-1].step == step
    meeting = {"devices": "2", "nodes": "2", "rendezvous": f"127.0.0.1:{free_port()}"}
    machines = [start(stack, **meeting, node_rank=str(number)) for number in range(2)]
    assert_as_on_one(stack, job_id, on_one, tmp_path)
    assert f"Resumed from the checkpoint at step {step}" in stack.events(job_id)
    group = [machine.trainer() for machine in machines] + [machine.processes(1)[0] for machine in machines]
    assert machines[1].stop() == 0
    _, alive = psutil.wait_procs(group, 120)
    assert not alive
