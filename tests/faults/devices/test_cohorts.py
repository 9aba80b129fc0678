"""Jobs that train together in the real trainer, on a tiny base model: they join, leave, pause, fail alone."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load_file

from cli.embedded import EmbeddedServers
from tests.fixtures.models.tiny import OTHER, TINY, write_base
from tests.fixtures.service.api import migrated_database, wait_for
from tests.fixtures.service.stack import JOB_SECONDS, Stack, cancel_all, job_api_on, short_rows, stack_on

WEIGHTS = "adapter_model.safetensors"
PAUSE_SECONDS = 30  # within which a trainer parts with a job, paused or cancelled
LOSSES = 3  # that fail a job; one more than a busy machine may cost by itself
VALIDATION_ROWS = 4000  # some seconds of evaluation: a request to pause takes up to one to arrive
SHORT = {"rows": 12, "epochs": 2}  # 6 steps
MIDDLE = {"rows": 80, "epochs": 2}  # 40 steps
LONG = {"rows": 400, "epochs": 50}  # 5,000 steps: it does not end while a test looks at others


@pytest.fixture(scope="module")
def whole_stack(own_servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """With one worker for all tests here, and servers of their own: a test kills Postgres."""
    folder = tmp_path_factory.mktemp("cohorts")
    catalog = write_base(folder)
    with (
        migrated_database(own_servers) as url,
        job_api_on(own_servers, url, catalog_file=catalog) as api,
        stack_on(own_servers, api, folder) as stack,
    ):
        stack.start_worker(checkpoint_seconds="1000", max_lost_attempts=str(LOSSES))
        yield stack


@pytest.fixture
def stack(whole_stack: Stack) -> Iterator[Stack]:
    yield whole_stack
    cancel_all(whole_stack.api, whole_stack.tenant)


@pytest.fixture(scope="module")
def alone(whole_stack: Stack) -> str:
    """A job of MIDDLE size and rank 8 that trained alone."""
    job_id = create(whole_stack, MIDDLE)
    whole_stack.wait_for_status(job_id, "succeeded")
    return job_id


def create(stack: Stack, size: dict[str, int], rank: int = 8, model: str = TINY, **body: Any) -> str:
    return stack.create_job(**size, model=model, adapter={"type": "lora", "r": rank}, **body)


def parted(stack: Stack, job_id: str) -> bool:
    """Whether the trainer has noticed that the job is not its own any more."""
    return any("lease_lost" in line and job_id in line for line in stack.log().splitlines())


def weights(stack: Stack, job_id: str, into: Path) -> dict[str, torch.Tensor]:
    return load_file(stack.assert_succeeded_exactly_once(job_id, into) / WEIGHTS)


def assert_alike(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    """Up to the rounding of the base's type, in all factors together."""
    assert mine.keys() == theirs.keys()
    flat, other = (torch.cat([tensors[name].flatten() for name in mine]) for tensors in (mine, theirs))
    assert (flat - other).norm() < 0.02 * other.norm()


@pytest.mark.exhaustive
def test_jobs_train_together_and_each_ends_as_it_would_alone(
    stack: Stack, alone: str, tmp_path: Path
) -> None:
    smaller = create(stack, MIDDLE, rank=2)
    stack.wait_for_status(smaller, "succeeded")
    trainer = stack.workers[0].trainer()
    trainer.suspend()  # so that the first job does not end before the last one is there
    try:
        together = [create(stack, MIDDLE, rank) for rank in (2, 8, 16)]
    finally:
        trainer.resume()
    for one, other in zip(together, (smaller, alone), strict=False):
        assert_alike(weights(stack, one, tmp_path), weights(stack, other, tmp_path))
        assert stack.losses(one) == pytest.approx(stack.losses(other), abs=0.02)
    stack.assert_succeeded_exactly_once(together[-1], tmp_path)
    claims = [stack.last_claim(job_id) for job_id in together]
    assert max(claim.started_at for claim in claims) < min(claim.ended_at for claim in claims)  # type: ignore[type-var]


@pytest.mark.exhaustive
def test_a_job_that_comes_later_trains_and_ends_while_an_earlier_one_goes_on(
    stack: Stack, tmp_path: Path
) -> None:
    earlier = create(stack, LONG)
    stack.wait_for_step(earlier)
    later = create(stack, SHORT, rank=4)
    stack.assert_succeeded_exactly_once(later, tmp_path)
    assert stack.job(earlier).status == "running"


@pytest.mark.exhaustive
def test_a_job_cancelled_in_the_middle_leaves_and_its_neighbour_goes_on(stack: Stack) -> None:
    stays, leaves = create(stack, LONG), create(stack, LONG)
    for job_id in (stays, leaves):
        stack.wait_for_step(job_id)
    stack.tenant.openai.fine_tuning.jobs.cancel(leaves)
    wait_for(lambda: parted(stack, leaves), PAUSE_SECONDS)
    stack.wait_for_step(stays, stack.last_claim(stays).step + 20)
    assert len(stack.claims(stays)) == 1
    assert stack.adapters(leaves) == []
    assert stack.store.list(f"adapters/{leaves}/") == []


@pytest.mark.exhaustive
def test_a_job_paused_and_resumed_at_once_goes_on(stack: Stack) -> None:
    """Before its first step it is paused at once, and may be claimed again before its trainer has noticed."""
    jobs = stack.tenant.openai.fine_tuning.jobs
    stays, hasty = create(stack, LONG), create(stack, LONG)
    wait_for(lambda: stack.claims(hasty), JOB_SECONDS)
    jobs.pause(hasty)
    stack.wait_for_status(hasty, "paused")
    jobs.resume(hasty)
    wait_for(lambda: len(stack.claims(hasty)) == 2, JOB_SECONDS)
    for job_id in (stays, hasty):
        stack.wait_for_step(job_id)
    assert len(stack.claims(stays)) == 1


@pytest.mark.exhaustive
def test_a_paused_job_saves_its_place_frees_the_trainer_and_ends_as_if_it_had_run_through(
    stack: Stack, alone: str, tmp_path: Path
) -> None:
    jobs = stack.tenant.openai.fine_tuning.jobs
    job_id = create(stack, MIDDLE)
    stack.wait_for_step(job_id)
    asked = time.monotonic()
    jobs.pause(job_id)
    stack.wait_for_status(job_id, "paused")
    assert time.monotonic() - asked < PAUSE_SECONDS
    claim = stack.last_claim(job_id)
    assert claim.outcome == "paused"
    assert stack.checkpoints(job_id)[-1].step == claim.step
    stack.assert_succeeded_exactly_once(create(stack, SHORT), tmp_path)
    assert stack.job(job_id).status == "paused"
    jobs.resume(job_id)
    resumed, through = (stack.assert_succeeded_exactly_once(one, tmp_path) for one in (job_id, alone))
    assert (resumed / WEIGHTS).read_bytes() == (through / WEIGHTS).read_bytes()
    assert f"Resumed from the checkpoint at step {claim.step}" in stack.events(job_id)
    assert stack.losses(job_id) == stack.losses(alone)


@pytest.mark.exhaustive
def test_a_job_paused_in_a_cohort_ends_as_alone_and_so_does_its_neighbour(
    stack: Stack, alone: str, tmp_path: Path
) -> None:
    jobs = stack.tenant.openai.fine_tuning.jobs
    expected = weights(stack, alone, tmp_path)
    pair = [create(stack, MIDDLE), create(stack, MIDDLE)]
    for job_id in pair:
        stack.wait_for_step(job_id)
    asked = time.monotonic()
    jobs.pause(pair[0])
    stack.wait_for_status(pair[0], "paused")
    assert time.monotonic() - asked < PAUSE_SECONDS
    assert stack.job(pair[1]).status == "running"
    jobs.resume(pair[0])
    for job_id in pair:
        assert_alike(weights(stack, job_id, tmp_path), expected)


@pytest.mark.exhaustive
def test_a_job_paused_while_it_evaluates_evaluates_after_the_resume(stack: Stack, tmp_path: Path) -> None:
    jobs = stack.tenant.openai.fine_tuning.jobs
    validation_file = stack.tenant.upload(short_rows(VALIDATION_ROWS))
    training = {"eval_samples": 0}  # so that the first evaluation is that of the epoch's end
    job_id = create(stack, {"rows": 12, "epochs": 1}, validation_file=validation_file, training=training)
    wait_for(lambda: (claims := stack.claims(job_id)) and claims[-1].phase == "validating", JOB_SECONDS)
    asked = time.monotonic()
    jobs.pause(job_id)
    stack.wait_for_status(job_id, "paused")
    assert time.monotonic() - asked < PAUSE_SECONDS
    (checkpoint,) = stack.checkpoints(job_id)
    assert "full_valid_loss" not in checkpoint.metrics, "the pause came too late to find it evaluating"
    jobs.resume(job_id)
    stack.assert_succeeded_exactly_once(job_id, tmp_path)
    metrics = stack.metrics(job_id)
    assert [data["step"] for data in metrics] == [1, 2, 3]
    assert metrics[-1]["full_valid_loss"] > 0
    assert stack.checkpoints(job_id)[0].metrics == metrics[-1]


@pytest.mark.exhaustive
def test_a_waiting_job_on_another_base_lets_nobody_overtake_it(stack: Stack) -> None:
    first = create(stack, MIDDLE)
    stack.wait_for_step(first)
    other, behind = create(stack, SHORT, model=OTHER), create(stack, SHORT)
    for job_id in (first, other, behind):
        stack.wait_for_status(job_id, "succeeded")
    claims = [stack.last_claim(job_id) for job_id in (first, other, behind)]
    assert claims[0].ended_at <= claims[1].started_at  # type: ignore[operator]
    assert claims[1].ended_at <= claims[2].started_at  # type: ignore[operator]


def test_a_trainer_killed_with_a_cohort_loses_none_of_it(stack: Stack, tmp_path: Path) -> None:
    jobs = [create(stack, MIDDLE) for _ in range(3)]
    stack.wait_for_step(jobs[-1])
    stack.workers[0].trainer().kill()
    for job_id in jobs:
        stack.assert_succeeded_exactly_once(job_id, tmp_path)


@pytest.mark.exhaustive
def test_a_database_killed_under_load_costs_no_job_and_nothing_that_was_confirmed(
    stack: Stack, tmp_path: Path
) -> None:
    """All its processes by SIGKILL, as a machine's end would, while clients read and write."""
    job_id = create(stack, {"rows": 400, "epochs": 2})
    stack.wait_for_step(job_id)
    answers: list[httpx.Response] = []
    enough = threading.Event()

    def use_the_api() -> None:
        content = short_rows(10)
        while not enough.is_set():
            answers.append(stack.tenant.http.get(f"/v1/fine_tuning/jobs/{job_id}"))
            form = {"data": {"purpose": "fine-tune"}, "files": {"file": ("a.jsonl", content)}}
            answers.append(stack.tenant.http.post("/v1/files", **form))  # type: ignore[arg-type]

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(use_the_api) for _ in range(4)]
        try:
            wait_for(lambda: len(answers) > 8, JOB_SECONDS)
            stack.servers.kill("postgres")
            wait_for(lambda: answers[-1].status_code == 503, JOB_SECONDS)
            stack.servers.restart("postgres")
            wait_for(lambda: answers[-1].status_code == 200, JOB_SECONDS)
        finally:
            enough.set()
    for client in clients:
        client.result()
    assert {answer.status_code for answer in answers} == {200, 503}
    stack.assert_succeeded_exactly_once(job_id, tmp_path)
    confirmed = {answer.json()["id"] for answer in answers if answer.status_code == 200} - {job_id}
    assert confirmed <= {file.id for file in stack.tenant.openai.files.list()}


@pytest.mark.exhaustive
def test_a_job_that_kills_its_trainer_again_and_again_fails_and_its_neighbours_succeed(
    stack: Stack, tmp_path: Path
) -> None:
    neighbours = [create(stack, MIDDLE), create(stack, MIDDLE)]
    guilty = create(stack, LONG)
    for attempt in range(1, LOSSES + 1):
        wait_for(lambda attempt=attempt: len(stack.claims(guilty)) == attempt, JOB_SECONDS)  # type: ignore[misc]
        if attempt == 1:
            stack.wait_for_step(guilty)  # later it kills before it gets as far: it would be innocent then
        stack.workers[0].trainer().kill()
    error = stack.wait_for_status(guilty, "failed").error
    assert error is not None
    assert error["code"] == "worker_lost"
    assert "SIGKILL" in error["message"]
    for job_id in neighbours:
        stack.assert_succeeded_exactly_once(job_id, tmp_path)


@pytest.mark.exhaustive
def test_jobs_beyond_the_memory_budget_train_one_after_another(stack: Stack, tmp_path: Path) -> None:
    """The last test here: its worker takes the first one's place."""
    for worker in stack.workers:  # another try finds its own worker too
        worker.destroy()
    stack.start_worker(cohort_bytes="0")
    jobs = [create(stack, SHORT) for _ in range(3)]
    for job_id in jobs:
        stack.assert_succeeded_exactly_once(job_id, tmp_path)
    claims = [stack.last_claim(job_id) for job_id in jobs]
    for earlier, later in itertools.pairwise(claims):
        assert earlier.ended_at <= later.started_at  # type: ignore[operator]
