"""QLoRA by request: which precisions of a base model a job may ask for, and what follows from its choice."""

from pathlib import Path
from typing import Any

import pytest

from api.models.chat_models import resolve
from core.catalog import load_catalog
from tests.fixtures.service.api import BASE_MODEL, QUANTISED_MODEL, UNQUANTISABLE_MODEL, Api, Tenant, refusal

JOBS = "/v1/fine_tuning/jobs"
NAMED = "training.quantization"


def refused(alice: Tenant, param: str = NAMED, **body: Any) -> str:
    answer = alice.http.post(JOBS, json={"model": BASE_MODEL, "training_file": alice.upload(), **body})
    return str(refusal(answer, 400, param, "invalid_value")["message"])


@pytest.mark.parametrize(
    ("model", "asked", "shown"),
    [
        (BASE_MODEL, None, "none"),
        (BASE_MODEL, "none", "none"),
        (BASE_MODEL, "nf4", "nf4"),
        (BASE_MODEL, "int8", "int8"),
        (QUANTISED_MODEL, None, "nf4"),
        (QUANTISED_MODEL, "nf4", "nf4"),
        (UNQUANTISABLE_MODEL, None, "none"),
    ],
)
def test_a_job_shows_the_precision_that_it_trains_in(
    alice: Tenant, model: str, asked: str | None, shown: str
) -> None:
    training = {} if asked is None else {"quantization": asked}
    job = alice.create_job(model=model, training=training)
    assert job["training"]["quantization"] == shown
    assert alice.job(job["id"])["training"]["quantization"] == shown
    alice.openai.fine_tuning.jobs.cancel(job["id"])


@pytest.mark.parametrize(
    ("model", "asked", "choices"),
    [
        (QUANTISED_MODEL, "none", "trains in 'nf4'"),
        (QUANTISED_MODEL, "int8", "trains in 'nf4'"),
        (UNQUANTISABLE_MODEL, "nf4", "trains in 'none'"),
    ],
)
def test_a_precision_that_the_catalog_does_not_allow_is_refused_with_those_that_it_does(
    alice: Tenant, model: str, asked: str, choices: str
) -> None:
    assert choices in refused(alice, model=model, training={"quantization": asked})


def test_what_is_no_precision_is_refused(alice: Tenant) -> None:
    body = {"model": BASE_MODEL, "training_file": alice.upload(), "training": {"quantization": "fp4"}}
    assert "nf4" in refusal(alice.http.post(JOBS, json=body), 400, NAMED)["message"]


@pytest.mark.parametrize(
    ("adapter", "training", "param"),
    [
        ({"type": "ia3"}, {}, "adapter.type"),
        ({"init_lora_weights": "pissa"}, {}, "adapter.init_lora_weights"),
        ({}, {"fsdp": "full_shard", "devices": 2}, "training.fsdp"),
    ],
)
def test_what_needs_whole_weights_is_judged_by_the_precision_of_the_job(
    alice: Tenant, adapter: dict[str, Any], training: dict[str, Any], param: str
) -> None:
    asked = {"adapter": adapter, "training": {**training, "quantization": "nf4"}}
    assert "quanti" in refused(alice, param, **asked)
    job = alice.create_job(adapter=adapter, training=training)
    alice.openai.fine_tuning.jobs.cancel(job["id"])


def test_loftq_is_taken_where_the_job_asks_for_a_quantised_base(alice: Tenant) -> None:
    adapter = {"init_lora_weights": "loftq"}
    assert f"'{NAMED}'" in refused(alice, "adapter.init_lora_weights", adapter=adapter)
    job = alice.create_job(adapter=adapter, training={"quantization": "nf4"})
    alice.openai.fine_tuning.jobs.cancel(job["id"])


def test_a_model_answers_and_is_continued_on_the_weights_that_it_was_trained_on(
    api: Api, alice: Tenant, tmp_path: Path
) -> None:
    job_id = alice.create_job(training={"quantization": "nf4"})["id"]
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    lease = api.claim(job_id)
    api.checkpoint(lease, 4)
    adapter_id = api.finish(lease, tmp_path)
    model = alice.job(job_id)["fine_tuned_model"]
    for name in (adapter_id, model, f"{model}:ckpt-step-4"):
        with api.sessions() as session:
            catalog = load_catalog(api.settings.catalog_file)
            found = resolve(session, alice.project_id, catalog, name, lambda: "")
        assert (found.served.base, found.served.precision) == (BASE_MODEL, "nf4")
        child = alice.create_job(model=name)
        assert child["training"]["quantization"] == "nf4"
        alice.openai.fine_tuning.jobs.cancel(child["id"])


def test_a_base_model_tells_which_precisions_jobs_may_ask_for(alice: Tenant) -> None:
    told = {model["id"]: model["quantizations"] for model in alice.http.get("/v1/models").json()["data"]}
    assert told[BASE_MODEL] == ["none", "nf4", "int8"]
    assert told[QUANTISED_MODEL] == ["nf4"]
    assert told[UNQUANTISABLE_MODEL] == ["none"]
