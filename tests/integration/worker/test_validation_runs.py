"""Validations of a job as runs of its eval, in the real store and database: who may write, and how often."""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from core.errors import LeaseLost
from core.jobs import lifecycle
from core.jobs.spec import JobSpec
from core.storage.object_store import ObjectStore
from core.tables import Artifact, Job
from tests.fixtures.faults.database import losing_the_answer
from tests.fixtures.service.api import Api, Tenant
from tests.fixtures.work.evals_api import CHECK, judged
from worker.trainer.report.job_lease import JobLease
from worker.trainer.save.shipping import Shipping
from worker.trainer.save.validation_runs import ValidationRuns

PROMPTS = b"\n".join(
    [json.dumps({"messages": [{"role": "user", "content": "1 + 1"}], "answer": "yes"}).encode()] * 10
)
RECORDS = [judged(index, passed=index > 0) for index in range(3)]


@pytest.fixture
def job_id(alice: Tenant) -> str:
    reinforcement = {"grader": CHECK, "hyperparameters": {}}
    return str(
        alice.create_job(
            training_file=alice.upload(PROMPTS),
            validation_file=alice.upload(PROMPTS),
            method={"type": "reinforcement", "reinforcement": reinforcement},
        )["id"]
    )


class Claimed:
    """The runs of a job's claim, as its trainer sends them."""

    def __init__(self, api: Api, job_lease: JobLease, shipping: Shipping, runs: ValidationRuns) -> None:
        self.api, self.job_lease, self.shipping, self.runs = api, job_lease, shipping, runs

    def validate(self, step: int) -> None:
        """Store a validation, and wait for the end."""
        self.runs.send(step, iter(RECORDS), len(RECORDS))
        self.shipping.wait()


@contextmanager
def claim_of(api: Api, job_id: str, folder: Path, store: ObjectStore | None = None) -> Iterator[Claimed]:
    lease = api.claim(job_id)
    job_lease = JobLease(api.sessions, lease, time.monotonic())
    with api.sessions() as session:
        spec = JobSpec.model_validate(session.get_one(Job, job_id).spec)
    with ThreadPoolExecutor(1) as pool:
        shipping = Shipping(pool, ended=lambda: None)
        runs = ValidationRuns(job_lease, store or api.store, folder, spec, shipping, api.settings)
        try:
            yield Claimed(api, job_lease, shipping, runs)
        finally:
            job_lease.close()


def steps_of(tenant: Tenant, job_id: str) -> Sequence[str]:
    runs = tenant.openai.evals.runs.list(tenant.job(job_id)["eval_id"])
    return [(run.metadata or {})["step"] for run in runs]


def test_a_run_counts_for_the_quota_until_it_is_deleted(
    api: Api, alice: Tenant, job_id: str, tmp_path: Path
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        claim.validate(0)
        claim.validate(4)
    assert list(tmp_path.iterdir()) == [], "what is shipped takes room no more"
    eval_id = alice.job(job_id)["eval_id"]
    run = next(iter(alice.openai.evals.runs.list(eval_id)))
    counts = run.result_counts
    assert (counts.passed, counts.failed, counts.errored) == (2, 1, 0)
    with api.sessions() as session:
        query = select(Artifact).where(Artifact.owner_id == run.id, Artifact.prefix.is_not(None))
        kept = session.scalars(query).one()
    stored = sum(size for _, size in api.store.sizes(kept.prefix or ""))
    assert (kept.state, kept.counted, kept.bytes) == ("kept", True, stored)
    alice.openai.evals.runs.delete(run.id, eval_id=eval_id)
    with api.sessions() as session:
        assert session.get_one(Artifact, kept.id).state == "doomed"
    assert steps_of(alice, job_id) == ["4"]


def test_a_step_that_is_validated_again_keeps_its_run_and_a_deleted_run_stays_away(
    api: Api, alice: Tenant, job_id: str, tmp_path: Path
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        claim.validate(0)
        claim.validate(4)
        eval_id = alice.job(job_id)["eval_id"]
        first, second = alice.openai.evals.runs.list(eval_id)
        alice.openai.evals.runs.delete(first.id, eval_id=eval_id)
        claim.validate(0)
        claim.validate(4)
    assert [run.id for run in alice.openai.evals.runs.list(eval_id)] == [second.id]


def test_a_trainer_that_has_lost_its_job_stores_nothing(
    api: Api, alice: Tenant, job_id: str, tmp_path: Path
) -> None:
    with claim_of(api, job_id, tmp_path) as claim:
        with api.sessions.begin() as session:
            lifecycle.release(session, claim.job_lease.lease, "Another trainer takes it")
        with claim_of(api, job_id, tmp_path), pytest.raises(LeaseLost):
            claim.validate(0)
    assert steps_of(alice, job_id) == []


def test_a_commit_whose_answer_is_lost_leaves_one_run(
    api: Api, alice: Tenant, job_id: str, tmp_path: Path
) -> None:
    engine = api.sessions.kw["bind"]
    with (
        claim_of(api, job_id, tmp_path) as claim,
        losing_the_answer(engine, "INSERT INTO tasks ") as lost,
    ):
        claim.validate(0)
    assert lost
    assert steps_of(alice, job_id) == ["0"]


def test_a_store_that_is_away_costs_a_run_and_not_the_job(
    api: Api, alice: Tenant, job_id: str, tmp_path: Path, closed_port: int
) -> None:
    away = ObjectStore(f"http://127.0.0.1:{closed_port}", api.settings.s3_bucket or "", retries=1)
    with claim_of(api, job_id, tmp_path, away) as claim:
        claim.validate(4)
        claim.job_lease.commit(lambda _: None)  # its events
    assert steps_of(alice, job_id) == []
    event = next(event for event in alice.events(job_id) if event["level"] == "warn")
    assert event["data"] == {"code": "validation_not_stored", "step": 4}
    assert "step 4 is no run of the job's eval: The object store did not answer" in event["message"]
