"""Jobs are paused and resumed, by OpenAI's client and again after lost answers."""

from pathlib import Path

import pytest

from core.jobs import lifecycle
from core.jobs.dispatch import TASK, create_celery, queue_for
from core.jobs.lifecycle import Progress
from tests.fixtures.service.api import Api, Tenant, refusal

JOBS = "/v1/fine_tuning/jobs"


def test_a_paused_job_whose_class_is_not_on_offer_any_more_is_not_resumed(
    api: Api, alice: Tenant, training_file: str
) -> None:
    job_id = alice.create_job(training_file=training_file, training={"devices": 2})["id"]
    alice.openai.fine_tuning.jobs.pause(job_id)
    with api.beside(device_classes="1") as smaller:
        tenant = smaller.tenant("alice")
        refusal(tenant.http.post(f"{JOBS}/{job_id}/resume"), 400, "training.devices", "devices_not_available")
    assert alice.job(job_id)["status"] == "paused"


def test_a_retried_resumption_is_answered_though_its_class_is_not_on_offer_any_more(
    api: Api, alice: Tenant, training_file: str
) -> None:
    """The first try queued the job, and its answer was lost."""
    job_id = alice.create_job(training_file=training_file, training={"devices": 2})["id"]
    alice.openai.fine_tuning.jobs.pause(job_id)
    resumed = alice.http.post(f"{JOBS}/{job_id}/resume", headers={"x-stainless-retry-count": "0"})
    with api.beside(device_classes="1") as smaller:
        path = f"{smaller.url}{JOBS}/{job_id}/resume"
        retried = alice.http.post(path, headers={"x-stainless-retry-count": "1"})
    assert (retried.status_code, retried.json()) == (200, resumed.json())


def test_a_pause_is_withdrawn_though_its_class_is_not_on_offer_any_more(
    api: Api, alice: Tenant, training_file: str
) -> None:
    """The job still runs, so it needs no other worker."""
    job_id = alice.create_job(training_file=training_file, training={"devices": 2})["id"]
    lease = api.claim(job_id, devices=2)
    with api.sessions.begin() as session:
        lifecycle.renew(session, lease, Progress("training", 3, 10))
    alice.openai.fine_tuning.jobs.pause(job_id)
    with api.beside(device_classes="1") as smaller:
        answer = alice.http.post(f"{smaller.url}{JOBS}/{job_id}/resume")
    assert answer.is_success, answer.text
    assert answer.json()["progress"]["phase"] == "training"


def test_a_pause_and_a_resumption_whose_answers_were_lost_may_be_repeated(alice: Tenant) -> None:
    path = f"{JOBS}/{alice.create_job()['id']}"
    for verb, status in (("pause", "paused"), ("resume", "queued")):
        first, repeated = (
            alice.http.post(f"{path}/{verb}", headers={"x-stainless-retry-count": retries})
            for retries in "01"
        )
        assert (repeated.status_code, repeated.json()) == (200, first.json())
        assert alice.http.get(path).json()["status"] == status
    refusal(alice.http.post(f"{path}/resume"), 400, code="job_not_resumable")


def test_a_retried_pause_and_resumption_after_earlier_ones_take_effect(alice: Tenant) -> None:
    """Their first tries were refused, for example because the server was busy."""
    path = f"{JOBS}/{alice.create_job()['id']}"
    for retries in "01":
        for verb, status in (("pause", "paused"), ("resume", "queued")):
            answer = alice.http.post(f"{path}/{verb}", headers={"x-stainless-retry-count": retries})
            assert answer.is_success
            assert alice.http.get(path).json()["status"] == status


@pytest.mark.parametrize("steps", [None, 0, 3])
def test_the_official_client_pauses_and_resumes_a_job(
    api: Api, alice: Tenant, adapter_folder: Path, steps: int | None
) -> None:
    """The job is queued, claimed without a step, or training."""
    jobs = alice.openai.fine_tuning.jobs
    job_id = alice.create_job()["id"]
    lease = None if steps is None else api.claim(job_id)
    if lease and steps:
        with api.sessions.begin() as session:
            lifecycle.renew(session, lease, Progress("training", steps, 10))

    paused = jobs.pause(job_id)

    if lease and steps:
        assert (paused.status, alice.job(job_id)["progress"]["phase"]) == ("running", "pausing")
        with api.sessions.begin() as session:
            assert lifecycle.finish_pause(session, lease)
        paused = jobs.retrieve(job_id)
    assert paused.status == "paused"  # type: ignore[comparison-overlap]  # OpenAI's type lacks it
    shown = alice.job(job_id)
    assert (shown["progress"]["phase"], shown["progress"]["step"]) == ("paused", steps or 0)
    assert (shown["finished_at"], shown["estimated_finish"]) == (None, None)
    refusal(alice.http.post(f"{JOBS}/{job_id}/pause"), 400, None, "job_not_pausable")

    assert jobs.resume(job_id).status == "queued"
    refusal(alice.http.post(f"{JOBS}/{job_id}/resume"), 400, None, "job_not_resumable")


def test_resuming_wakes_a_worker(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    alice.openai.fine_tuning.jobs.pause(job_id)
    with create_celery(api.settings.server("broker_url")).connection_for_read() as connection:
        bell = connection.SimpleQueue(queue_for(1))
        bell.clear()
        alice.openai.fine_tuning.jobs.resume(job_id)
        assert bell.get(timeout=60).headers["task"] == TASK
