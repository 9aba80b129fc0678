"""Jobs at their worst moments, on a tiny base model: each ends succeeded, exactly once, with one adapter."""

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import select

from cli.embedded import EmbeddedServers
from core.storage.file_names import STATE_NAME
from core.tables import Adapter, Checkpoint, Event, Metric
from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.resting import REST
from tests.fixtures.service.api import Api, migrated_database, wait_for
from tests.fixtures.service.stack import JOB_SECONDS, Stack, Worker, stack_on

WEIGHTS = "adapter_model.safetensors"
STANDARD = {"rows": 40, "epochs": 8}  # 80 steps: some seconds, in which a test has time to disturb it
MIDDLE = {"rows": 24, "epochs": 4}  # 24 steps
SHORT = {"rows": 12, "epochs": 1}
RESTARTS, STEPS_BETWEEN_RESTARTS = 4, 12
SLOWLY = {REST: "0.15"}  # so that a job does not end before a test on a busy machine has disturbed it


def create(stack: Stack, size: dict[str, int] = STANDARD) -> str:
    return stack.create_job(model=TINY, **size)


@pytest.fixture(scope="module")
def module_servers(own_servers: EmbeddedServers) -> EmbeddedServers:
    """Tests here kill them."""
    return own_servers


@pytest.fixture(scope="module")
def database_url(own_servers: EmbeddedServers) -> Iterator[str]:
    with migrated_database(own_servers) as url:
        yield url


@pytest.fixture(scope="module")
def undisturbed_weights(
    module_servers: EmbeddedServers, job_api: Api, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """The adapter of the standard job, trained without any fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with stack_on(module_servers, job_api, folder) as stack:
        stack.start_worker()
        return (stack.assert_succeeded_exactly_once(create(stack), folder) / WEIGHTS).read_bytes()


@pytest.mark.exhaustive
def test_a_job_outlives_each_end_of_its_workers_and_ends_with_the_same_adapter(
    stack: Stack, tmp_path: Path, undisturbed_weights: bytes
) -> None:
    """Each worker leaves the job to the next one in another way."""
    job_id = create(stack)
    given_back_before_its_first_step(stack, job_id)
    step = given_back_with_a_checkpoint(stack, job_id)
    third = stack.start_worker(SLOWLY, checkpoint_seconds="1000")
    trainer_killed(stack, third, job_id)
    newest = killed_with_a_damaged_checkpoint(stack, third, job_id)
    stack.start_worker()
    folder = stack.assert_succeeded_exactly_once(job_id, tmp_path)
    outcomes = [claim.outcome for claim in stack.claims(job_id)]
    assert outcomes == ["released", "released", "lost", "lost", "succeeded"]
    events = stack.events(job_id)
    assert f"Resumed from the checkpoint at step {step}" in events
    assert any("SIGKILL" in message for message in events), "the death has no name"
    assert any(f"Checkpoint at step {newest} is passed over: {STATE_NAME}" in each for each in events)
    assert sum("Resumed from the checkpoint" in message for message in events) >= 3
    assert (folder / WEIGHTS).read_bytes() == undisturbed_weights


def given_back_before_its_first_step(stack: Stack, job_id: str) -> None:
    worker = stack.start_worker()
    wait_for(lambda: stack.claims(job_id), JOB_SECONDS)
    assert worker.stop() == 0
    assert stack.job(job_id).status == "queued"


def given_back_with_a_checkpoint(stack: Stack, job_id: str) -> int:
    """Return the checkpoint's step, which is the last that the worker made."""
    worker = stack.start_worker(SLOWLY, checkpoint_seconds="1000")
    wait_for(lambda: len(stack.claims(job_id)) == 2, JOB_SECONDS)
    step = stack.last_claim(job_id).step
    stack.wait_for_step(job_id, step + 2)
    assert worker.stop() == 0
    checkpoint = stack.checkpoints(job_id)[-1]
    assert checkpoint.step == stack.last_claim(job_id).step > step
    assert stack.job(job_id).status == "queued"
    return checkpoint.step


def trainer_killed(stack: Stack, worker: Worker, job_id: str) -> None:
    wait_for_another_checkpoint(stack, job_id)
    worker.trainer().kill()
    wait_for(lambda: len(stack.claims(job_id)) == 4, JOB_SECONDS)


def killed_with_a_damaged_checkpoint(stack: Stack, worker: Worker, job_id: str) -> int:
    """Return the step of the damaged checkpoint, which has another before it."""
    wait_for_another_checkpoint(stack, job_id)
    worker.destroy()
    newest = stack.checkpoints(job_id)[-1]
    stack.store.put_bytes(newest.object_prefix + STATE_NAME, b"damaged")
    return newest.step


def wait_for_another_checkpoint(stack: Stack, job_id: str) -> None:
    before = stack.checkpoints(job_id)[-1].step
    wait_for(lambda: stack.checkpoints(job_id)[-1].step > before, JOB_SECONDS)


@pytest.mark.exhaustive
def test_an_object_store_that_is_away_for_a_while_fails_no_job(stack: Stack, tmp_path: Path) -> None:
    jobs = [create(stack, SHORT) for _ in range(2)]
    stack.servers.kill("s3")
    stack.start_worker(max_lost_attempts="2")
    wait_for(lambda: "store_unreachable" in (tmp_path / "worker-1.log").read_text(), JOB_SECONDS)
    stack.servers.restart("s3")
    for job_id in jobs:
        stack.assert_succeeded_exactly_once(job_id, tmp_path)


@pytest.mark.exhaustive
def test_a_database_restarted_again_and_again_changes_nothing_of_a_job_and_hangs_no_client(
    stack: Stack, tmp_path: Path, undisturbed_weights: bytes
) -> None:
    stack.start_worker(SLOWLY)
    job_id = create(stack)
    step = 0
    with polling(stack, job_id) as answers:
        for restart in range(RESTARTS):
            stack.wait_for_step(job_id, step + STEPS_BETWEEN_RESTARTS)
            step = stack.last_claim(job_id).step
            if restart % 2:
                stack.servers.kill("postgres")
            stack.servers.restart("postgres")
        folder = stack.assert_succeeded_exactly_once(job_id, tmp_path)
    assert (folder / WEIGHTS).read_bytes() == undisturbed_weights
    assert answers[200] > 0
    assert answers.keys() <= {200, 503}


@contextmanager
def polling(stack: Stack, job_id: str) -> Iterator[Counter[int]]:
    """Read the job again and again within the block. Yields how often each status was answered."""
    answers: Counter[int] = Counter()
    over = threading.Event()

    def poll() -> None:
        while not over.wait(0.05):
            answers[stack.tenant.http.get(f"/v1/fine_tuning/jobs/{job_id}").status_code] += 1

    client = threading.Thread(target=poll)
    client.start()
    try:
        yield answers
    finally:
        over.set()
        client.join()


@pytest.mark.exhaustive
def test_a_broker_wiped_with_jobs_queued_and_one_running_loses_none(stack: Stack, tmp_path: Path) -> None:
    stack.start_worker()
    jobs = [create(stack, MIDDLE) for _ in range(3)]
    stack.wait_for_step(jobs[0], 1)
    Redis.from_url(stack.servers.urls["broker_url"]).flushall()
    stack.servers.kill("valkey")
    stack.servers.restart("valkey")
    for job_id in jobs:
        stack.assert_succeeded_exactly_once(job_id, tmp_path)
        assert len(stack.claims(job_id)) == 1, "no job had to be claimed twice for this"


@pytest.mark.exhaustive
def test_a_trainer_frozen_past_its_lease_can_write_nothing_once_another_has_finished(
    stack: Stack, tmp_path: Path
) -> None:
    first = stack.start_worker(SLOWLY)
    job_id = create(stack, MIDDLE)
    stack.wait_for_step(job_id, 2)
    zombie = first.trainer()
    zombie.send_signal(signal.SIGSTOP)
    first.process.send_signal(signal.SIGSTOP)  # or its supervisor would replace the frozen trainer
    stack.start_worker()
    stack.assert_succeeded_exactly_once(job_id, tmp_path)
    before = everything_written(stack, job_id)
    zombie.send_signal(signal.SIGCONT)
    first.process.send_signal(signal.SIGCONT)
    # Until the zombie's next round has ended and it has claimed another job, it has noticed nothing
    next_job = create(stack, SHORT)
    stack.wait_for_status(next_job, "succeeded")
    wait_for(lambda: "lease_lost" in (tmp_path / "worker-1.log").read_text(), JOB_SECONDS)
    assert everything_written(stack, job_id) == before


def everything_written(stack: Stack, job_id: str) -> object:
    """All rows and objects of a job, but for checkpoints that are removed once it has ended.

    Whether the usage counts a claim is left out: the janitor marks that in its own time.
    """
    with stack.sessions() as session:
        rows = [
            [
                vars(row) | {"_sa_instance_state": None}
                for row in session.scalars(select(table).where(table.job_id == job_id))
                if not isinstance(row, Checkpoint) or row.promised
            ]
            for table in (Adapter, Checkpoint, Event, Metric)
        ]
    job, claims = vars(stack.job(job_id)), [vars(claim) | {"counted": None} for claim in stack.claims(job_id)]
    for row in (job, *claims):
        row.pop("_sa_instance_state")
    return rows, job, claims, stack.store.list(f"adapters/{job_id}/")
