"""Jobs that sample their answers list checkpoints of their three best validations, whatever stops them."""

import io
import zipfile
from typing import Any

from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.resting import resting
from tests.fixtures.service.api import Api, Tenant, strictly, wait_for
from tests.fixtures.service.trainer import job_of, running
from tests.integration.jobs.test_reinforcement_job import create, finish, rewards

JOBS = "/v1/fine_tuning/jobs"
WEIGHTS = "adapter_model.safetensors"
OFTEN = {"eval_interval": 2, "eval_samples": 1}  # six validations, whose rewards go up and down


def listed(tenant: Tenant, job_id: str) -> list[dict[str, Any]]:
    return list(tenant.http.get(f"{JOBS}/{job_id}/checkpoints").json()["data"])


def steps(tenant: Tenant, job_id: str) -> list[int]:
    return [checkpoint["step_number"] for checkpoint in listed(tenant, job_id)]


def best_three(found: dict[int, float]) -> list[int]:
    """Return the steps of the three highest rewards, newest first."""
    trained = [step for step in found if step > 0]
    return sorted(sorted(trained, key=lambda step: (-found[step], step))[:3], reverse=True)


def weights(tenant: Tenant, checkpoint: dict[str, Any]) -> bytes:
    path = f"{JOBS}/{checkpoint['fine_tuning_job_id']}/checkpoints/{checkpoint['id']}/content"
    with zipfile.ZipFile(io.BytesIO(tenant.http.get(path).content)) as archive:
        return archive.read(WEIGHTS)


def test_the_three_validations_with_the_highest_reward_are_listed_with_their_weights(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    job_id = create(tenant, **OFTEN)
    finish(fp32_api, job_id)
    found = rewards(tenant, job_id)
    assert sorted(found) == [0, 2, 4, 6, 8, 10, 12]
    shown = listed(tenant, job_id)
    assert [checkpoint["step_number"] for checkpoint in shown] == best_three(found)
    for checkpoint in shown:
        strictly(FineTuningJobCheckpoint, checkpoint)
        assert checkpoint["metrics"]["full_valid_mean_reward"] == found[checkpoint["step_number"]]
    assert len({weights(tenant, checkpoint) for checkpoint in shown}) == 3
    told = [event["message"] for event in tenant.events(job_id) if "Checkpoint saved" in event["message"]]
    assert {f"Checkpoint saved at step {step}" for step in [2, 4, 6, *best_three(found)]} <= {*told}


def test_of_validations_with_the_same_reward_the_earlier_ones_are_listed(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    job_id = create(tenant, **OFTEN, learning_rate_multiplier=1e-12)
    finish(fp32_api, job_id)
    found = rewards(tenant, job_id)
    assert len(found) == 7
    assert len({*found.values()}) == 1
    assert steps(tenant, job_id) == [6, 4, 2]


def test_a_job_that_was_stopped_and_paused_lists_the_same_checkpoints(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    whole = create(tenant, **OFTEN)
    finish(fp32_api, whole)
    disturbed = create(tenant, **OFTEN)  # only now, since it would train beside the other one
    with resting(0.3), running(fp32_api):
        wait_for(lambda: tenant.job(disturbed)["progress"]["step"] >= 3, 240)
    assert tenant.job(disturbed)["status"] == "queued"
    with resting(0.3), running(fp32_api):
        wait_for(lambda: tenant.job(disturbed)["progress"]["step"] >= 7, 240)
        assert len(steps(tenant, disturbed)) <= 3
        tenant.http.post(f"{JOBS}/{disturbed}/pause")
        wait_for(lambda: job_of(fp32_api, disturbed).status == "paused", 240)
    assert steps(tenant, disturbed) == best_three(rewards(tenant, disturbed))
    tenant.http.post(f"{JOBS}/{disturbed}/resume")
    finish(fp32_api, disturbed)
    one, other = (listed(tenant, job_id) for job_id in (whole, disturbed))
    assert [each["step_number"] for each in one] == [each["step_number"] for each in other]
    assert [weights(tenant, each) for each in one] == [weights(tenant, each) for each in other]


def test_a_supervised_job_lists_the_ends_of_its_last_three_epochs(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    rows = tenant.upload()
    job = tenant.create_job(
        model=TINY,
        training_file=rows,
        validation_file=rows,
        hyperparameters={"n_epochs": 5, "batch_size": 4},
        training={"eval_steps": 1},
    )
    finish(fp32_api, job["id"])
    assert steps(tenant, job["id"]) == [15, 12, 9]
