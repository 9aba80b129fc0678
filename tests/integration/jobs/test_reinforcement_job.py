"""Jobs with reinforcement, from the request to the result: a model learns what its grader rewards."""

import json
import string
from typing import Any

import pytest
from openai.types.evals import RunListResponse
from openai.types.evals.runs import OutputItemListResponse
from sqlalchemy import delete

from core.tables import Checkpoint
from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.resting import resting
from tests.fixtures.service.api import Api, Tenant, refusal, strictly, wait_for
from tests.fixtures.service.trainer import job_of, running

JOBS = "/v1/fine_tuning/jobs"
WANTED = string.ascii_letters + string.digits
GRADER = {
    "type": "python",
    "name": "likes_letters",
    "source": """
def grade(sample, item):
    text = sample["output_text"]
    return sum(letter in item["wanted"] for letter in text) / max(1, len(text))
""",
}
NEVER = {
    "type": "string_check",
    "name": "never",
    "input": "{{ sample.output_text }}",
    "reference": "never written so",
    "operation": "eq",
}


def prompts(count: int) -> bytes:
    rows = [
        {
            "messages": [{"role": "user", "content": f"Say it, number {line}."}],
            "wanted": WANTED,
        }
        for line in range(count)
    ]
    return "\n".join(map(json.dumps, rows)).encode()


def create(
    tenant: Tenant, grader: dict[str, Any] = GRADER, audit: dict[str, Any] | None = None, **options: Any
) -> str:
    hyperparameters = {
        "n_epochs": 2,
        "batch_size": 4,
        "num_generations": 8,
        "max_completion_tokens": 8,
        "mask_truncated": False,
        "eval_interval": 4,
        "eval_samples": 4,
        "learning_rate_multiplier": 1,
    }
    job = tenant.create_job(
        model=TINY,
        training_file=tenant.upload(prompts(24)),
        validation_file=tenant.upload(prompts(10)),
        method={
            "type": "reinforcement",
            "reinforcement": {
                "grader": grader,
                "audit_grader": audit,
                "hyperparameters": {**hyperparameters, **options},
            },
        },
        training={"learning_rate": 2e-2, "lr_scheduler_type": "constant", "warmup_ratio": 0},
        seed=3,
    )
    return str(job["id"])


def finish(api: Api, job_id: str, status: str = "succeeded") -> None:
    with running(api):
        wait_for(lambda: job_of(api, job_id).status not in ("queued", "running"), 240)
    job = job_of(api, job_id)
    assert job.status == status, job.error


def rewards(tenant: Tenant, job_id: str) -> dict[int, float]:
    """Return the mean reward of each validation, by its step."""
    name = "full_valid_mean_reward"
    return {point["step"]: point[name] for point in points(tenant, job_id) if name in point}


def runs_of(tenant: Tenant, eval_id: str) -> list[RunListResponse]:
    return list(tenant.openai.evals.runs.list(eval_id))


def warnings(tenant: Tenant, job_id: str, code: str) -> list[dict[str, Any]]:
    events = tenant.events(job_id)
    return [event for event in events if (event.get("data") or {}).get("code") == code]


def points(tenant: Tenant, job_id: str) -> list[dict[str, Any]]:
    found = tenant.http.get(f"{JOBS}/{job_id}/metrics", params={"after_step": -1}).json()
    return list(found["data"])


def test_a_job_shows_the_rewards_of_its_steps_and_of_its_validations(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    job_id = create(tenant)
    finish(fp32_api, job_id)
    series = points(tenant, job_id)
    assert [point["step"] for point in series] == list(range(13))
    rewards = [point["full_valid_mean_reward"] for point in series if "full_valid_mean_reward" in point]
    assert len(rewards) == 5, "before the first step, after every fourth, and at the end of each epoch"
    last = series[-1]
    assert last["train_loss"] is not None
    assert last["valid_loss"] is None
    assert "valid_mean_reward" not in last, "all validations take all rows"
    assert {point["policy_gap_max"] for point in series[1:]} == {0.0}, "both compute the same in fp32"
    assert last["groups"] == 4
    assert last["scores"]["graders"][0]["name"] == "likes_letters"
    assert last["timing"]["step"]["sampling"] > 0
    events = tenant.http.get(f"{JOBS}/{job_id}/events", params={"limit": 100}).json()["data"]
    shown = [event["data"]["rows"] for event in events if event["type"] == "samples"]
    assert len(shown) == 5
    assert all(0 <= row["reward"] <= 1 for rows in shown for row in rows)


def test_a_job_that_is_resumed_learns_to_the_bit_what_it_would_have_learnt(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    whole = create(tenant)
    finish(fp32_api, whole)
    resumed = create(tenant)
    with resting(0.2), running(fp32_api):
        wait_for(lambda: tenant.job(resumed)["progress"]["step"] >= 3, 240)
    assert tenant.job(resumed)["status"] == "queued", "it was interrupted"
    finish(fp32_api, resumed)
    told = ("train_loss", "train_mean_reward", "grad_norm", "full_valid_mean_reward")
    one, other = (
        [{name: point.get(name) for name in told} for point in points(tenant, job_id)]
        for job_id in (whole, resumed)
    )
    assert one == other


def test_answers_that_are_all_cut_off_end_the_job_with_what_to_do(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    few = {"batch_size": 1, "num_generations": 2}  # so that none of them ends with its first token
    job_id = create(tenant, max_completion_tokens=1, mask_truncated=True, **few)
    finish(fp32_api, job_id, "failed")
    error = tenant.job(job_id)["error"]
    assert error["code"] == "nothing_to_learn"
    assert "cut off at 1 tokens. Raise max_completion_tokens" in error["message"]


def test_a_grader_that_never_tells_answers_apart_ends_the_job_with_its_reason(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    job_id = create(tenant, NEVER)
    finish(fp32_api, job_id, "failed")
    error = tenant.job(job_id)["error"]
    assert error["code"] == "nothing_to_learn"
    assert "same reward" in error["message"]
    assert error["param"] == "method.reinforcement.grader"


def test_each_validation_is_a_run_of_the_jobs_eval(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    job_id = create(tenant)
    eval_id = tenant.openai.fine_tuning.jobs.retrieve(job_id).to_dict()["eval_id"]
    assert isinstance(eval_id, str)
    finish(fp32_api, job_id)
    (grader,) = tenant.openai.evals.retrieve(eval_id).testing_criteria
    assert (grader.type, grader.name) == (GRADER["type"], GRADER["name"])
    runs = runs_of(tenant, eval_id)
    found = {int((run.metadata or {})["step"]): run for run in runs}
    assert list(found) == [0, 4, 6, 8, 12]
    assert {run.status for run in runs} == {"completed"}
    assert [run.model for run in runs][:2] == [TINY, f"{tenant.job(job_id)['fine_tuned_model']}:ckpt-step-4"]
    shown: dict[int, Any] = {step: run.to_dict() for step, run in found.items()}
    values = {step: run["criteria"][0]["value"] for step, run in shown.items()}
    assert values == pytest.approx(rewards(tenant, job_id))
    items = list(tenant.openai.evals.runs.output_items.list(runs[-1].id, eval_id=eval_id))
    assert len(items) == 40, "ten prompts with four answers each"
    first = items[0]
    strictly(OutputItemListResponse, first.model_dump())
    assert first.datasource_item["wanted"] == WANTED
    assert [message.content for message in first.sample.input] == ["Say it, number 0."]
    text = first.sample.output[0].content or ""
    reward = sum(letter in WANTED for letter in text) / max(1, len(text))
    assert (first.status, first.results[0].score) == ("pass", pytest.approx(reward))
    asked = {"base": runs[0].id, "tuned": runs[-1].id}
    compared = tenant.http.get(f"/v1/evals/{eval_id}/compare", params=asked).json()
    assert (compared["compared_rows"], compared["left_out_rows"]) == (40, 0)
    gained = rewards(tenant, job_id)[12] - rewards(tenant, job_id)[0]
    assert compared["criteria"][0]["difference"] == pytest.approx(gained)
    checkpoints = tenant.http.get(f"{JOBS}/{job_id}/checkpoints").json()["data"]
    assert {one["step_number"]: one["metrics"]["full_valid_mean_reward"] for one in checkpoints}.items() <= (
        rewards(tenant, job_id).items()
    )


def test_a_job_that_validates_a_step_again_has_one_run_of_it(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    job_id = create(tenant)
    eval_id = tenant.job(job_id)["eval_id"]
    with resting(0.2), running(fp32_api):
        wait_for(lambda: len(runs_of(tenant, eval_id)) >= 2, 240)
    before = {run.id for run in runs_of(tenant, eval_id)}
    with fp32_api.sessions.begin() as session:  # so that the job begins anew
        session.execute(delete(Checkpoint).where(Checkpoint.job_id == job_id))
    finish(fp32_api, job_id)
    runs = runs_of(tenant, eval_id)
    assert [(run.metadata or {})["step"] for run in runs] == ["0", "4", "6", "8", "12"]
    assert before < {run.id for run in runs}


def test_a_job_whose_eval_is_deleted_goes_on_and_says_so_once(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    job_id = create(tenant)
    eval_id = tenant.job(job_id)["eval_id"]
    with resting(0.2), running(fp32_api):
        wait_for(lambda: runs_of(tenant, eval_id), 240)
        tenant.openai.evals.delete(eval_id)
    finish(fp32_api, job_id)
    refusal(tenant.http.get(f"/v1/evals/{eval_id}/runs"), 404, "eval_id", "eval_not_found")
    assert len(warnings(tenant, job_id, "eval_deleted")) == 1


def test_a_job_whose_runs_do_not_fit_into_the_quota_goes_on_and_says_so(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    job_id = create(tenant)
    tenant.allow(stored_bytes=1)
    finish(fp32_api, job_id)
    assert runs_of(tenant, tenant.job(job_id)["eval_id"]) == []
    told = warnings(tenant, job_id, "validation_not_stored")
    assert sorted(event["data"]["step"] for event in told) == [0, 4, 6, 8, 12]
    assert "may store 1 bytes" in told[0]["message"]
