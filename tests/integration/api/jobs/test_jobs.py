"""/v1/fine_tuning/jobs over real HTTP: creating, reading, paging, cancelling, and wrong requests."""

import base64
import csv
import time
from pathlib import Path

import pytest
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from sqlalchemy import select

from core.errors import JobError
from core.jobs import lifecycle
from core.jobs.events import record_event
from core.jobs.lifecycle import Progress
from core.tables import Job, Metric
from tests.fixtures.service.api import (
    BASE_MODEL,
    LEASE_SECONDS,
    RESULT_TABLE,
    Api,
    Tenant,
    refusal,
    strictly,
    wait_for,
)

JOBS = "/v1/fine_tuning/jobs"


def test_a_job_is_shown_whatever_bounds_its_specification_had(
    api: Api, alice: Tenant, training_file: str
) -> None:
    """Another release may have stored a job with other bounds. It must not break the page that it is on."""
    job_id = alice.create_job(training_file=training_file)["id"]
    stored = {
        "adapter": {"type": "of-a-newer-release", "r": 9999, "new": [1]},
        "hyperparameters": {"n_epochs": 999, "batch_size": 4, "learning_rate_multiplier": 1.0, "beta": 9},
        "training": {"learning_rate": 50.0, "devices": 1, "new": {"a": None}},
    }
    with api.sessions.begin() as session:
        job = session.get_one(Job, job_id)
        job.spec = {**job.spec, **stored, "new": True}
    shown = alice.job(job_id)
    assert {name: shown[name] for name in stored} == stored
    strictly(FineTuningJob, shown)
    assert job_id in [job["id"] for job in alice.http.get(JOBS).json()["data"]]
    for action in ("pause", "resume", "cancel"):
        assert alice.http.post(f"{JOBS}/{job_id}/{action}").json()["adapter"] == stored["adapter"]


def test_a_job_tells_its_place_in_the_order_of_the_claims(api: Api) -> None:
    """Claims are fair between projects, oldest job first. Jobs on more devices wait in another queue."""
    busy, idle = api.tenant(), api.tenant()
    with api.sessions.begin() as session:
        for job in session.scalars(select(Job).where(Job.status.in_(["queued", "running"]))):
            lifecycle.cancel(session, job)
    api.claim(busy.create_job()["id"])
    on_two = busy.create_job()["id"]
    with api.sessions.begin() as session:
        session.get_one(Job, on_two).devices = 2
    waiting = [(busy, busy.create_job()) for _ in range(2)]
    waiting += [(idle, idle.create_job()), (busy, busy.create_job(model="small-model"))]
    waiting += [(idle, idle.create_job()) for _ in range(2)]

    def tells(tenant: Tenant, job_id: str) -> int | None:
        return tenant.job(job_id)["progress"]["queue_position"]

    last, job = waiting[-1]
    wait_for(lambda: tells(last, job["id"]) is not None)
    told = {tells(tenant, job["id"]): job["id"] for tenant, job in waiting}
    listed = {job["id"]: job["progress"]["queue_position"] for job in idle.http.get(JOBS).json()["data"]}

    with api.sessions.begin() as session:
        leases = [lifecycle.claim(session, "a test", LEASE_SECONDS) for _ in waiting]
    claimed = [lease.job_id for lease in leases if lease]
    assert [told[place] for place in range(1, 7)] == claimed
    assert tells(busy, on_two) == 1
    assert listed == {job_id: place for place, job_id in told.items() if job_id in listed}
    assert tells(idle, claimed[0]) is None


def test_a_waiting_job_has_made_no_step(alice: Tenant) -> None:
    progress = alice.create_job()["progress"]
    assert (progress["phase"], progress["step"], progress["percent"]) == ("queued", 0, None)


def test_a_running_job_tells_its_progress(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    lease = api.claim(job_id)
    progress = Progress(
        "training",
        step=5,
        total_steps=20,
        epoch=0.5,
        tokens_per_second=99.5,
        trained_tokens=640,
        seconds_left=100,
        best_valid_loss=1.25,
        best_step=4,
    )
    with api.sessions.begin() as session:
        lifecycle.renew(session, lease, progress)

    shown = alice.job(job_id)

    strictly(FineTuningJob, shown)
    assert shown["status"] == "running"
    assert shown["progress"] == {
        "step": 5,
        "total_steps": 20,
        "epoch": 0.5,
        "tokens_per_second": 99.5,
        "percent": 25.0,
        "phase": "training",
        "queue_position": None,
        "best_valid_loss": 1.25,
        "best_step": 4,
    }
    assert (shown["trained_tokens"], shown["result_files"]) == (640, [])
    assert lease.seconds == LEASE_SECONDS
    assert shown["estimated_finish"] == pytest.approx(time.time() + 100, abs=30)


def test_a_job_given_back_keeps_its_progress_and_expects_nothing(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    lease = api.claim(job_id)
    with api.sessions.begin() as session:
        lifecycle.renew(session, lease, Progress("training", step=5, total_steps=20, seconds_left=100))
        lifecycle.release(session, lease, "The worker shuts down")

    shown = alice.job(job_id)

    assert (shown["status"], shown["progress"]["phase"], shown["progress"]["step"]) == ("queued", "queued", 5)
    assert shown["estimated_finish"] is None
    wait_for(lambda: (alice.job(job_id)["progress"]["queue_position"] or 0) >= 1)


def test_a_succeeded_job_names_what_it_made(api: Api, alice: Tenant, adapter_folder: Path) -> None:
    job_id = alice.create_job(suffix="done")["id"]
    adapter_id = api.finish(api.claim(job_id), adapter_folder)

    shown = alice.job(job_id)

    strictly(FineTuningJob, shown)
    assert shown["status"] == "succeeded"
    assert shown["fine_tuned_model"] == f"ft:{BASE_MODEL}:alice:done:{job_id[-12:]}"
    assert (shown["adapter_id"], shown["trained_tokens"]) == (adapter_id, 1234)
    assert shown["finished_at"] >= shown["created_at"]
    assert alice.openai.files.retrieve(shown["result_files"][0]).purpose == "fine-tune-results"


def test_the_table_of_results_is_read_as_openais_users_read_it(
    api: Api, alice: Tenant, adapter_folder: Path
) -> None:
    job_id = alice.create_job()["id"]
    api.finish(api.claim(job_id), adapter_folder)
    table = alice.job(job_id)["result_files"][0]
    read = alice.openai.files.content

    assert base64.b64decode(read(table).text) == RESULT_TABLE
    assert base64.b64decode(read(table).read(), validate=True) == RESULT_TABLE
    plain = {"Accept": "text/csv"}
    assert next(csv.DictReader(read(table, extra_headers=plain).text.splitlines()))["step"] == "1"
    assert alice.http.get(f"/v1/files/{table}/content").content == RESULT_TABLE
    part = {"Accept": "text/csv", "Range": "bytes=0-3"}
    assert alice.http.get(f"/v1/files/{table}/content", headers=part).content == RESULT_TABLE[:4]


def test_a_failed_job_tells_why(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    lease = api.claim(job_id)
    error = JobError("out_of_memory", "Row 3 is too long", "training_file")
    with api.sessions.begin() as session:
        lifecycle.fail(session, lease, error)

    job = strictly(FineTuningJob, alice.job(job_id))

    assert job.status == "failed"
    assert job.error is not None
    assert (job.error.code, job.error.message, job.error.param) == (
        "out_of_memory",
        "Row 3 is too long",
        "training_file",
    )


def test_paging_reaches_every_job_once_newest_first(api: Api) -> None:
    tenant = api.tenant()
    training_file = tenant.upload()
    made = [tenant.create_job(training_file=training_file)["id"] for _ in range(5)]

    assert [job.id for job in tenant.openai.fine_tuning.jobs.list(limit=2)] == made[::-1]
    page = tenant.http.get(JOBS, params={"limit": 2}).json()
    assert (page["object"], page["has_more"], page["last_id"]) == ("list", True, made[3])
    assert tenant.http.get(JOBS, params={"limit": 0}).json()["data"] == []
    assert tenant.http.get(JOBS, params={"after": made[0]}).json()["data"] == []


def test_jobs_are_found_by_their_metadata(api: Api) -> None:
    tenant = api.tenant()
    training_file = tenant.upload()
    red, blue, none = (
        tenant.create_job(training_file=training_file, metadata=metadata)["id"]
        for metadata in ({"team": "red", "x": ""}, {"team": "blue"}, None)
    )
    jobs = tenant.openai.fine_tuning.jobs

    assert [job.id for job in jobs.list(metadata={"team": "red"})] == [red]
    assert [job.id for job in jobs.list(metadata={"team": "red", "x": ""})] == [red]
    assert [job.id for job in jobs.list(metadata={"team": "green"})] == []
    for spelt in ("metadata=null", "metadata="):  # as Python's client sends it, and Node's
        assert [job["id"] for job in tenant.http.get(f"{JOBS}?{spelt}").json()["data"]] == [none]
    assert [job.id for job in jobs.list()] == [none, blue, red]
    refusal(tenant.http.get(f"{JOBS}?metadata=null&metadata[team]=red"), 400, "metadata")
    refusal(tenant.http.get(f"{JOBS}?metadata=red"), 400, "metadata")


def test_jobs_are_found_by_the_file_that_they_read(api: Api, bob: Tenant) -> None:
    tenant = api.tenant()
    file, other = tenant.upload(), tenant.upload()
    trains = tenant.create_job(training_file=file)["id"]
    tenant.create_job(training_file=other)
    validates = tenant.create_job(training_file=other, validation_file=file)["id"]
    found = tenant.http.get(JOBS, params={"file": file}).json()
    assert [job["id"] for job in found["data"]] == [validates, trains]
    assert bob.http.get(JOBS, params={"file": file}).json()["data"] == []


@pytest.mark.parametrize("part", ["", "/events", "/checkpoints"])
@pytest.mark.parametrize(
    ("query", "param", "says"),
    [
        ("limit=-1", "limit", "from 0 to 1000"),
        ("limit=1001", "limit", "from 0 to 1000"),
        ("limit=x", "limit", "an integer"),
        ("after=unheard-of", "after", "Send the 'last_id' of the page before"),
    ],
)
def test_a_wrong_page_is_refused_with_what_is_allowed(
    alice: Tenant, training_file: str, part: str, query: str, param: str, says: str
) -> None:
    base = JOBS
    if part:
        base += "/" + alice.create_job(training_file=training_file)["id"] + part
    assert says in refusal(alice.http.get(f"{base}?{query}"), 400, param)["message"]


def test_events_come_newest_first_and_page_to_the_end(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    with api.sessions.begin() as session:
        for step in range(5):
            record_event(
                session, job_id, f"Step {step}", type="metrics", data={"step": step, "train_loss": 0.5}
            )

    paged = [event.message for event in alice.openai.fine_tuning.jobs.list_events(job_id, limit=2)]

    assert paged[:5] == [f"Step {step}" for step in (4, 3, 2, 1, 0)]
    assert paged[5:] == ["Files validated, moving job to queued state", f"Created fine-tuning job: {job_id}"]
    for shown in alice.events(job_id):
        strictly(FineTuningJobEvent, shown)
    assert alice.events(job_id)[0]["data"] == {"step": 4, "train_loss": 0.5}
    assert alice.events(job_id)[0]["type"] == "metrics"
    page = alice.http.get(f"{JOBS}/{job_id}/events", params={"limit": 0}).json()
    assert (page["data"], page["has_more"]) == ([], True)


def test_checkpoints_at_the_ends_of_epochs_and_the_best_come_newest_first(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job(suffix="ck")["id"]
    lease = api.claim(job_id)
    for step in (3, 6, 9):
        api.checkpoint(lease, step, train_loss=1.5, valid_loss=2)
    api.checkpoint(lease, 7, promised=False)
    api.checkpoint(lease, 8, promised=False, best=True, train_loss=1.5, valid_loss=2)

    found = list(alice.openai.fine_tuning.jobs.checkpoints.list(job_id, limit=2))

    assert [checkpoint.step_number for checkpoint in found] == [9, 8, 6, 3]
    assert [checkpoint.model_extra["best"] for checkpoint in found] == [False, True, False, False]
    for shown in alice.http.get(f"{JOBS}/{job_id}/checkpoints").json()["data"]:
        strict = strictly(FineTuningJobCheckpoint, shown)
        assert strict.fine_tuning_job_id == job_id
        assert strict.metrics.train_loss == 1.5
        assert strict.metrics.step == strict.step_number
        name = f"ft:{BASE_MODEL}:alice:ck:{job_id[-12:]}:ckpt-step-{strict.step_number}"
        assert strict.fine_tuned_model_checkpoint == name


def test_metrics_continue_after_a_step(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    with api.sessions.begin() as session:
        session.add_all(
            Metric(job_id=job_id, step=step, data={"train_loss": 1 / step, "valid_loss": None})
            for step in range(1, 6)
        )
    url = f"{JOBS}/{job_id}/metrics"

    whole = alice.http.get(url).json()
    assert [point["step"] for point in whole["data"]] == [1, 2, 3, 4, 5]
    untold = dict.fromkeys(("trained_seconds", "trained_tokens", "trainer_memory_bytes"))
    assert whole["data"][1] == {"step": 2, "train_loss": 0.5, "valid_loss": None, **untold}
    assert whole["has_more"] is False
    later = alice.http.get(url, params={"after_step": 2, "limit": 2}).json()
    assert ([point["step"] for point in later["data"]], later["has_more"]) == ([3, 4], True)
    assert alice.http.get(url, params={"after_step": 5}).json()["data"] == []
    refusal(alice.http.get(url, params={"after_step": 10**30}), 400, "after_step")


@pytest.mark.parametrize("running", [False, True])
def test_a_job_is_cancelled_at_once_and_only_once(api: Api, alice: Tenant, running: bool) -> None:
    job_id = alice.create_job()["id"]
    if running:
        api.claim(job_id)

    cancelled = alice.http.post(f"{JOBS}/{job_id}/cancel").json()

    assert strictly(FineTuningJob, cancelled).status == "cancelled"
    assert cancelled["finished_at"] is not None
    assert cancelled["progress"]["queue_position"] is None
    assert alice.job(job_id) == cancelled
    refusal(alice.http.post(f"{JOBS}/{job_id}/cancel"), 400, None, "job_not_cancellable")
    assert [event["message"] for event in alice.events(job_id)].count("The job was cancelled") == 1
