"""A deterministic job gives one adapter, whoever trains beside it, also after its trainer was killed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from tests.fixtures.models.tiny import TINY
from tests.fixtures.postgres.pgbouncer import ADDRESSES
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.stack import JOB_SECONDS, Stack

pytestmark = ADDRESSES

WEIGHTS = "adapter_model.safetensors"
JOB = {"rows": 24, "epochs": 4}  # 24 steps, with a checkpoint after every sixth
SETTINGS = {"checkpoint_seconds": "1000", "max_step_tokens": "160"}  # three rows: a step of four is cut
# They do not end by themselves. Alone, the job's four rows are cut in the middle; these would move the cut
NEIGHBOURS = {"n_epochs": 50, "batch_size": 3}


@contextmanager
def beside(stack: Stack, ranks: Sequence[int]) -> Iterator[None]:
    """Have a neighbour of each of these ranks train inside of the block."""
    method = {"type": "supervised", "supervised": {"hyperparameters": NEIGHBOURS}}
    neighbours = [
        stack.create_job(400, model=TINY, adapter={"type": "lora", "r": rank}, method=method)
        for rank in ranks
    ]
    for neighbour in neighbours:
        stack.wait_for_step(neighbour)
    yield
    for neighbour in neighbours:
        assert stack.job(neighbour).status == "running", "the neighbour left too early"
        stack.tenant.openai.fine_tuning.jobs.cancel(neighbour)


def create(stack: Stack) -> str:
    training = {"learning_rate": 1e-2, "deterministic": True}
    return stack.create_job(**JOB, model=TINY, adapter={"type": "lora", "r": 8}, training=training)


def hash_of(stack: Stack, job_id: str, into: Path) -> str:
    return sha256((stack.assert_succeeded_exactly_once(job_id, into) / WEIGHTS).read_bytes()).hexdigest()


@pytest.mark.exhaustive
def test_one_adapter_comes_alone_from_a_cohort_and_after_a_kill_from_another(
    stack: Stack, tmp_path: Path
) -> None:
    worker = stack.start_worker(**SETTINGS)
    hashes = {"alone": hash_of(stack, create(stack), tmp_path)}
    with beside(stack, (8, 8, 32)):
        hashes["in a cohort"] = hash_of(stack, create(stack), tmp_path)

    with beside(stack, (16,)):
        killed = create(stack)
        wait_for(lambda: stack.checkpoints(killed), JOB_SECONDS)
        worker.trainer().suspend()
        assert stack.job(killed).status == "running", "the job ended too early to be killed"
    worker.destroy()
    stack.start_worker(**SETTINGS)
    with beside(stack, (2, 4)):  # the job trains alone until a checkpoint has proved that it is not to blame
        assert stack.job(killed).status in ("queued", "running"), "it ended before anybody trained beside it"
        hashes["killed, and resumed beside others"] = hash_of(stack, killed, tmp_path)

    assert any(event.startswith("Resumed from the checkpoint") for event in stack.events(killed))
    assert len(set(hashes.values())) == 1, hashes
