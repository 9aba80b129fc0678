"""A pre-flight measures a job before its first step, and nothing of the result changes: on a real trainer."""

from typing import Any

import pytest
import torch
from sqlalchemy import select

from core.jobs.measured import Measured, rate_of
from core.tables import Adapter, TokenCount
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api, Tenant, dataset, wait_for
from tests.fixtures.service.trainer import job_of, running
from worker.engine.step import rehearsal


def create(tenant: Tenant, **training: Any) -> str:
    files = {"training_file": tenant.upload(dataset(12)), "validation_file": tenant.upload(dataset(4))}
    body = {"seed": 3, "hyperparameters": {"n_epochs": 2, "batch_size": 4}, **files}
    return str(tenant.create_job(model=TINY, training=training, **body)["id"])


def ended(fp32_api: Api, job_id: str) -> str:
    wait_for(lambda: job_of(fp32_api, job_id).status not in ("queued", "running"), 240)
    return job_of(fp32_api, job_id).status


def weights(fp32_api: Api, job_id: str) -> str:
    """Return the hash of the weights that a job has published."""
    with fp32_api.sessions() as session:
        files = session.scalars(select(Adapter.files).where(Adapter.job_id == job_id)).one()
    return str(next(file["sha256"] for file in files if file["name"] == "adapter_model.safetensors"))


@pytest.mark.exhaustive
def test_a_preflight_reports_measured_beside_expected_and_changes_no_bit(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    with running(fp32_api):
        plain = create(tenant)  # on a CPU, no job has one by default
        assert ended(fp32_api, plain) == "succeeded"
        tried = create(tenant, preflight=True)
        assert ended(fp32_api, tried) == "succeeded"
    assert weights(fp32_api, tried) == weights(fp32_api, plain)
    shown = tenant.job(tried)
    found = Measured.model_validate(shown["measured"])
    assert found.preflight is not None
    assert found.preflight.predicted_step_bytes
    assert found.preflight.predicted_evaluation_bytes
    assert found.preflight.checkpoint_bytes > shown["estimate"]["disk"]["checkpoint_bytes"]
    events = tenant.http.get(f"/v1/fine_tuning/jobs/{tried}/events", params={"limit": 100}).json()["data"]
    (event,) = [each for each in events if (each["data"] or {}).get("code") == "preflight"]
    assert event["message"].startswith("Pre-flight: the longest step, of ")
    messages = [each["message"] for each in reversed(events)]
    first_step = next(number for number, each in enumerate(messages) if each.startswith("Step 1/"))
    assert messages.index(event["message"]) < first_step
    assert tenant.job(plain)["measured"]["preflight"] is None


def test_a_job_leaves_its_rate_and_the_tokens_of_its_file_for_later_estimates(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    with running(fp32_api):
        job_id = create(tenant)
        assert ended(fp32_api, job_id) == "succeeded"
        job = tenant.job(job_id)
        assert rate_of(job["estimate"], job["measured"])
        body = {"model": TINY, "training_file": job["training_file"], "devices": ["this-machine"], "seed": 3}
        later = tenant.http.post(
            "/v1/fine_tuning/estimates", json=body | {"hyperparameters": {"n_epochs": 2}}
        ).json()
    assert later["tokens"]["exact"]
    assert later["tokens"]["count"] == job["trained_tokens"]
    assert later["devices"][0]["seconds"]["basis"] == "measured"
    assert not job["estimate"]["tokens"]["exact"]
    assert job["estimate"]["tokens"]["least"] <= job["trained_tokens"] <= job["estimate"]["tokens"]["most"]
    with fp32_api.sessions() as session:
        shares = select(TokenCount.computed_share).where(TokenCount.file_id == job["training_file"])
        assert 0 < session.scalars(shares).one() <= 1


def test_a_job_that_does_not_fit_fails_before_its_first_step(
    fp32_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch raises this error where a GPU's memory does not suffice. This machine has none."""

    def too_much(*_: Any) -> None:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(rehearsal, "gradients", too_much)
    tenant = fp32_api.tenant()
    with running(fp32_api):
        job_id = create(tenant, preflight=True)
        assert ended(fp32_api, job_id) == "failed"
    job = tenant.job(job_id)
    assert job["error"]["code"] == "out_of_memory"
    assert job["error"]["param"] == "training.max_length"
    assert job["progress"]["step"] == 0
