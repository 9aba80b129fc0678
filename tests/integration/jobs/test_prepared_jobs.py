"""Jobs that hold out a part of their training file, and train on variants of its rows: on a real trainer."""

import json
from typing import Any

import pytest

from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.resting import resting
from tests.fixtures.service.api import Api, Tenant, refusal, row, wait_for
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.service.trainer import job_of, running

TEXTS = "one river,two engines,three lemons,four pockets,five gardens,six bridges,seven coins,nine owls,a map"
ROWS = [row(f"{text} {number} times {number * number}") for number in range(3) for text in TEXTS.split(",")]
JOBS = "/v1/fine_tuning/jobs"


def lines(rows: list[Any]) -> list[str]:
    return [json.dumps(row) for row in rows]


def content(tenant: Tenant, file_id: str) -> list[str]:
    return tenant.http.get(f"/v1/files/{file_id}/content").text.splitlines()


def create(tenant: Tenant, rows: list[Any] = ROWS, **body: Any) -> str:
    file_id = tenant.upload("\n".join(lines(rows)).encode())
    hyperparameters = {"n_epochs": 1, "batch_size": 4}
    asked = {"model": TINY, "training_file": file_id, "hyperparameters": hyperparameters, "seed": 3, **body}
    return str(tenant.create_job(**asked)["id"])


@pytest.mark.exhaustive
def test_another_worker_goes_on_with_the_same_rows_and_all_of_them_can_be_downloaded(
    fp32_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = fp32_api.tenant()
    asked = {"validation_split": 0.25, "augmentation": {"copies": 2, "user_case": True}}
    job_id = create(tenant, **asked, evaluate={}, hyperparameters={"n_epochs": 4, "batch_size": 4})
    assert tenant.job(job_id)["prepared"] is None
    with resting(0.2), running(fp32_api):  # so that the job does not end before its trainer stops
        wait_for(lambda: tenant.job(job_id)["progress"]["step"] >= 2, 240)
        begun = tenant.job(job_id)
        held_file = begun["validation_file"]
        refusal(tenant.http.delete(f"/v1/files/{held_file}"), 409, "id", "file_in_use")
    assert job_of(fp32_api, job_id).status == "queued"
    with running(fp32_api):
        wait_for(lambda: job_of(fp32_api, job_id).status not in ("queued", "running"), 240)
    job = tenant.job(job_id)
    assert job["status"] == "succeeded", job["error"]
    prepared = job["prepared"]
    assert (prepared, job["validation_file"]) == (begun["prepared"], held_file)
    assert (job["validation_split"], job["augmentation"]["user_case"]) == (0.25, True)
    told = [
        event["message"] for event in tenant.http.get(f"{JOBS}/{job_id}/events?limit=1000").json()["data"]
    ]
    assert sum("are held out" in message for message in told) == 1

    held, trained = content(tenant, held_file), content(tenant, prepared["training_file"])
    assert len(held) == prepared["validation_rows"] == 7
    assert len(trained) == prepared["training_rows"]
    originals = [line for line in lines(ROWS) if line not in held]
    assert [line for line in trained if line in originals] == originals
    assert len(trained) == len(originals) + prepared["augmented_rows"]
    answers = {json.loads(line)["messages"][-1]["content"] for line in originals}
    assert {json.loads(line)["messages"][-1]["content"] for line in trained} == answers
    lineage = tenant.http.get(f"/v1/files/{held_file}").json()["lineage"]
    assert lineage["job"] == job_id
    assert lineage["file"] == job["training_file"]
    (on_rows, _) = tenant.http.get("/v1/evals", params={"job_id": job_id}).json()["data"]
    run = tenant.http.get(f"/v1/evals/{on_rows['id']}/runs").json()["data"][0]
    assert run["data_source"]["source"]["id"] == held_file

    assert tenant.http.delete(f"{JOBS}/{job_id}").status_code == 200
    clean(fp32_api, GRACE_OVER)
    assert content(tenant, held_file) == held
    assert tenant.http.delete(f"/v1/files/{held_file}").status_code == 200


def test_a_job_whose_similar_rows_leave_too_few_says_so(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    alike = [row(f"one river {number // 6}") for number in range(12)]
    job_id = create(tenant, alike, validation_split=1)
    with running(fp32_api):
        wait_for(lambda: job_of(fp32_api, job_id).status not in ("queued", "running"), 240)
    error = tenant.job(job_id)["error"]
    assert (error["code"], error["param"]) == ("too_few_rows", "validation_split")


def test_a_sweep_compares_its_candidates_by_the_rows_that_are_held_out(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    file_id = tenant.upload("\n".join(lines(ROWS)).encode())
    asked = {
        "model": TINY,
        "training_file": file_id,
        "validation_split": 6,
        "hyperparameters": {"n_epochs": 1, "batch_size": 8},
        "parameters": {"training.learning_rate": [1e-4, 1e-3]},
    }
    answer = tenant.http.post("/v1/fine_tuning/sweeps", json=asked)
    assert answer.status_code == 200, answer.text
    job_id = answer.json()["job_id"]
    with running(fp32_api):
        wait_for(lambda: job_of(fp32_api, job_id).status not in ("queued", "running"), 240)
    candidates = tenant.http.get(f"{JOBS}/{job_id}/candidates").json()["data"]
    assert tenant.job(job_id)["prepared"]["validation_rows"] == 6
    assert sorted(candidate["status"] for candidate in candidates) == ["dropped", "won"]
