"""The table of a job's metrics: whole and in order, however many steps the job has made."""

import time
import tracemalloc
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from tests.fixtures.faults.database import broken_once
from tests.fixtures.service.api import Api, Tenant
from worker.trainer.report.job_lease import JobLease
from worker.trainer.report.reporter import StepMetrics
from worker.trainer.save.result_table import write_result_table

HEAD = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
FILL = """
INSERT INTO metrics (job_id, step, data) SELECT :job_id, n, jsonb_build_object(
    'step', n, 'train_loss', 0.5, 'train_mean_token_accuracy', 0.25, 'learning_rate', 1e-4, 'tokens', 4096
) FROM generate_series(1, :steps) n
"""
MEGABYTE = 10**6


@pytest.fixture
def job_lease(api: Api, alice: Tenant) -> Iterator[JobLease]:
    job_lease = JobLease(api.sessions, api.claim(alice.create_job()["id"]), time.monotonic())
    yield job_lease
    job_lease.close()


def table_of(api: Api, job_lease: JobLease, **options: int) -> list[str]:
    """Write the table, and return its lines as they are stored."""
    written = write_result_table(api.store, f"results/{job_lease.lease.job_id}.csv", job_lease, **options)
    stored = b"".join(api.store.read(written.key))
    assert written.bytes == len(stored)
    return stored.decode().splitlines()


def test_the_table_has_every_step_once_and_in_order(api: Api, job_lease: JobLease) -> None:
    for step in (4, 1, 3, 2, 5):
        job_lease.metrics(StepMetrics(step, {"step": step, "train_loss": step / 2}), f"Step {step}")
    lines = [f"{step},{step / 2},,," for step in range(1, 6)]
    assert table_of(api, job_lease, page_steps=2) == [HEAD, *lines]


def test_a_job_without_metrics_has_a_table_too(api: Api, job_lease: JobLease) -> None:
    assert table_of(api, job_lease) == [HEAD]


def test_the_table_of_a_long_job_is_never_in_memory_as_a_whole(api: Api, job_lease: JobLease) -> None:
    """Without pages, these metrics take 8 MB."""
    with api.sessions.begin() as session:
        session.execute(text(FILL), {"job_id": job_lease.lease.job_id, "steps": 5000})
    tracemalloc.start()
    lines = table_of(api, job_lease, page_steps=200)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lines[-1] == "5000,0.5,0.25,,"
    assert peak < 3 * MEGABYTE


def test_a_database_that_breaks_while_the_table_is_made_costs_nothing(api: Api, job_lease: JobLease) -> None:
    job_lease.metrics(StepMetrics(1, {"step": 1, "train_loss": 0.5}), "Step 1")
    with broken_once(api, "SELECT metrics.step") as broke:
        assert table_of(api, job_lease) == [HEAD, "1,0.5,,,"]
    assert len(broke) == 1
