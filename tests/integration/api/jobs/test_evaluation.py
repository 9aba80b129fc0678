"""`evaluate` on a job: what is accepted, and the evals that exist once the job has succeeded."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from core.errors import LeaseLost
from core.evals.evaluation import Evaluation
from core.evals.run_request import RunRequest
from core.jobs.spec import JobSpec
from core.tables import Job, Task
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, dataset, refusal, settings
from tests.fixtures.work.evals_api import CHECK, EVALS
from tests.integration.api.jobs.creation.test_objectives import labelled, pairs

JOBS = "/v1/fine_tuning/jobs"
ASKING = {
    "type": "label_model",
    "name": "judge",
    "model": BASE_MODEL,
    "input": [{"role": "user", "content": "{{ sample.output_text }}"}],
    "labels": ["good", "bad"],
    "passing_labels": ["good"],
}


@pytest.fixture(scope="module")
def file_id(alice: Tenant) -> str:
    return alice.upload()


def evals_of(tenant: Tenant, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.http.get(EVALS, params={"job_id": job_id}).json()["data"]
    return found


def runs_of(tenant: Tenant, eval_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.http.get(f"{EVALS}/{eval_id}/runs").json()["data"]
    return found


def test_a_job_that_succeeds_makes_its_evals_once(
    api: Api, alice: Tenant, bob: Tenant, file_id: str, adapter_folder: Path
) -> None:
    job = alice.create_job(training_file=file_id, validation_file=file_id, evaluate={"rows": 5})
    lease = api.claim(job["id"])
    assert evals_of(alice, job["id"]) == []
    adapter_id = api.finish(lease, adapter_folder)
    with pytest.raises(LeaseLost):
        api.finish(lease, adapter_folder)
    model = alice.job(job["id"])["fine_tuned_model"]
    on_file, general = evals_of(alice, job["id"])
    for made, source in (
        (on_file, {"type": "file_id", "id": file_id, "limit": 5}),
        (general, {"type": "general"}),
    ):
        assert made["job_id"] == job["id"]
        assert [criterion["type"] for criterion in made["testing_criteria"]] == ["loss", "exact_match"]
        base, tuned = runs_of(alice, made["id"])
        assert (base["model"], base["metadata"]) == (BASE_MODEL, {"model": "base"})
        assert (tuned["model"], tuned["metadata"]) == (model, {"model": "tuned"})
        assert base["data_source"]["source"] == tuned["data_source"]["source"] == source
        assert {base["status"], tuned["status"]} == {"queued"}
    events = alice.http.get(f"{JOBS}/{job['id']}/events").json()["data"]
    assert events[0]["data"] == {"eval_ids": [on_file["id"], general["id"]]}
    assert alice.http.get(f"/v1/adapters/{adapter_id}").is_success
    assert evals_of(bob, job["id"]) == []


def test_a_grader_may_ask_a_model_that_was_found_when_the_job_was_created(
    api: Api, alice: Tenant, bob: Tenant, file_id: str, adapter_folder: Path
) -> None:
    """The general questions have no such grader."""
    judge = alice.create_job(training_file=file_id)
    api.finish(api.claim(judge["id"]), adapter_folder)
    model = alice.job(judge["id"])["fine_tuned_model"]
    score = {"type": "score_model", "name": "score", "model": model, "input": ASKING["input"]}
    criteria = [ASKING, {"type": "multi", "name": "m", "graders": {"a": score}, "calculate_output": "a"}]
    body = {"model": BASE_MODEL, "training_file": bob.upload(), "evaluate": {"criteria": criteria}}
    body["validation_file"] = body["training_file"]
    refusal(bob.http.post(JOBS, json=body), 400, "evaluate.criteria.1.graders.a.model", "model_not_found")

    asked = {"criteria": criteria, "file": file_id}
    job = alice.create_job(training_file=file_id, evaluate=asked)
    assert [criterion["type"] for criterion in job["evaluate"]["criteria"]] == ["label_model", "multi"]
    api.finish(api.claim(job["id"]), adapter_folder)
    on_file, general = evals_of(alice, job["id"])
    with api.sessions() as session:
        runs = session.scalars(select(Task).where(Task.eval_id == on_file["id"])).all()
        served = [RunRequest.model_validate(run.request).grader_models for run in runs]
        others = session.scalars(select(Task.request).where(Task.eval_id == general["id"])).all()
    assert served[0] == served[1]
    assert {name: found["base"] for name, found in served[0].items()} == dict.fromkeys(
        (BASE_MODEL, model), BASE_MODEL
    )
    assert served[0][model]["adapter"]["files"]
    assert [request["grader_models"] for request in others] == [{}, {}]


def test_a_job_that_does_not_ask_makes_no_evals(
    api: Api, alice: Tenant, file_id: str, adapter_folder: Path
) -> None:
    job = alice.create_job(training_file=file_id, validation_file=file_id)
    assert job["evaluate"] is None
    api.finish(api.claim(job["id"]), adapter_folder)
    assert evals_of(alice, job["id"]) == []


def test_a_jobs_own_evals_need_and_take_no_room_among_the_projects_tasks(
    api: Api, adapter_folder: Path
) -> None:
    """A job succeeds, however many tasks its project has open, and the client can still start a task."""
    tenant = api.tenant()
    held = tenant.upload()
    for _ in range(api.settings.project_open_tasks // 4 + 1):
        job = tenant.create_job(training_file=held, validation_file=held, evaluate={})
        adapter_id = api.finish(api.claim(job["id"]), adapter_folder)
        assert len(evals_of(tenant, job["id"])) == 2
    answer = tenant.http.post(f"/v1/adapters/{adapter_id}/exports", json={"format": "lora"})
    assert answer.is_success, answer.text


def test_a_job_shows_what_it_will_evaluate(api: Api, alice: Tenant, file_id: str) -> None:
    other = alice.upload(dataset(20))
    asked = {"criteria": [CHECK], "file": other, "forgetting": False}
    job = alice.create_job(training_file=file_id, evaluate=asked)
    shown = alice.job(job["id"])["evaluate"]
    assert shown == job["evaluate"] == {"criteria": [CHECK], "file": other, "rows": None, "forgetting": False}
    with api.sessions() as session:
        stored = JobSpec.model_validate(session.get_one(Job, job["id"]).spec)
    assert stored.evaluation == Evaluation.model_validate(shown)


@pytest.mark.parametrize(
    ("method", "rows", "criteria"),
    [
        ("dpo", pairs(12), ["loss"]),
        ("kto", labelled(12), ["loss"]),
        ("supervised", None, ["loss", "exact_match"]),
    ],
)
def test_the_default_criteria_fit_the_dataset(
    alice: Tenant, method: str, rows: bytes | None, criteria: list[str]
) -> None:
    file_id = alice.upload(rows)
    body = {"training_file": file_id, "validation_file": file_id, "method": {"type": method}, "evaluate": {}}
    shown = alice.create_job(**body)["evaluate"]
    assert [criterion["type"] for criterion in shown["criteria"]] == criteria


def test_an_evaluation_may_ask_for_more_rows_than_its_file_has(alice: Tenant, file_id: str) -> None:
    job = alice.create_job(training_file=file_id, evaluate={"file": file_id, "rows": 10**6})
    assert job["evaluate"]["rows"] == 10**6


def test_a_wrong_evaluation_is_refused_with_what_to_do(
    api: Api, alice: Tenant, bob: Tenant, file_id: str
) -> None:
    def refused(evaluate: Any, param: str, code: str | None = None, **more: Any) -> str:
        body = {"model": BASE_MODEL, "training_file": file_id, "evaluate": evaluate, **more}
        answer = alice.http.post(JOBS, json=body)
        return str(refusal(answer, 400, param, code)["message"])

    assert "validation_file" in refused({}, "evaluate.file", "missing_required_parameter")
    refused({"file": bob.upload()}, "evaluate.file", "invalid_file_id")
    refused({"file": alice.upload(b"x", "user_data")}, "evaluate.file", "invalid_file_purpose")
    with settings(api, max_eval_rows=11):
        for rows in (None, 12, 10**6):
            many = refused({"file": file_id, "rows": rows}, "evaluate.rows", "too_many_rows")
            assert "would judge 12 rows" in many
    twice = {"file": file_id, "criteria": [CHECK, CHECK]}
    refused(twice, "evaluate.criteria.1.name", "duplicate_name")
    unknown = {"file": file_id, "criteria": [CHECK, ASKING | {"model": "gone"}]}
    refused(unknown, "evaluate.criteria.1.model", "model_not_found")
    unlabelled = {"file": file_id, "criteria": [ASKING | {"labels": []}]}
    refused(unlabelled, "evaluate.criteria.0.labels", "invalid_value")
    refused({"files": file_id}, "evaluate.files")
