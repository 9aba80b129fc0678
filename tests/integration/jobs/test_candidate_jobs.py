"""Jobs that choose among several adapters, from the request to the published one."""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select

from cli.embedded import EmbeddedServers
from core.tables import CandidateMetric
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.service.api import Api, Tenant, dataset, refusal, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import job_of, running

ROWS = dataset(12)
STEPS = 24
JOB = {"hyperparameters": {"n_epochs": 8, "batch_size": 4}, "seed": 5, "model": TINY}
SWEEPS = "/v1/fine_tuning/sweeps"


@pytest.fixture(scope="module")
def tiny(
    servers: EmbeddedServers, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    catalog = write_base(tmp_path_factory.mktemp("models"), dtype="fp32")
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        yield api


@pytest.fixture
def tenant(tiny: Api) -> Tenant:
    return tiny.tenant()


def files(tenant: Tenant) -> dict[str, str]:
    return {"training_file": tenant.upload(ROWS), "validation_file": tenant.upload(ROWS)}


def train(api: Api, job_id: str) -> None:
    with running(api):
        wait_for(lambda: job_of(api, job_id).status not in ("queued", "running"), 240)
    job = job_of(api, job_id)
    assert job.status == "succeeded", job.error


def told(tenant: Tenant, job_id: str) -> list[tuple[str, str]]:
    """Level and message of each event but for the metrics, in the order in which they came."""
    events = tenant.openai.fine_tuning.jobs.list_events(job_id, limit=100)
    return [(event.level, event.message) for event in events if event.type == "message"][::-1]


def published(tenant: Tenant, adapter_id: str) -> dict[str, Any]:
    archive = tenant.http.get(f"/v1/adapters/{adapter_id}/content").content
    config: dict[str, Any] = json.loads(zipfile.ZipFile(io.BytesIO(archive)).read("adapter_config.json"))
    return config


@pytest.mark.exhaustive
def test_an_automatic_rank_is_chosen_shown_and_published(tiny: Api, tenant: Tenant) -> None:
    job = tenant.create_job(**JOB, **files(tenant), adapter={"r": "auto"}, training={"learning_rate": 1e-2})
    assert job["adapter"]["r"] == job["adapter"]["lora_alpha"] == "auto"
    url = f"/v1/fine_tuning/jobs/{job['id']}"
    waiting = tenant.http.get(f"{url}/candidates").json()
    assert [each["values"] for each in waiting["data"]] == [{"adapter.r": r} for r in (4, 8, 16, 32)]
    assert {each["status"] for each in waiting["data"]} == {"waiting"}
    train(tiny, job["id"])

    shown, found = tenant.job(job["id"]), tenant.http.get(f"{url}/candidates").json()
    winner, *others = found["data"]
    rank = winner["values"]["adapter.r"]
    assert (winner["status"], winner["number"]) == ("won", found["winner"])
    assert (shown["adapter"]["r"], shown["adapter"]["lora_alpha"]) == (rank, 2 * rank)
    config = published(tenant, shown["adapter_id"])
    assert (config["r"], config["lora_alpha"]) == (rank, 2 * rank)

    assert [(each["status"], each["step"], len(each["rungs"])) for each in others] == [
        ("dropped", 6, 2),
        ("dropped", 3, 1),
        ("dropped", 3, 1),
    ]
    assert [each["saved_steps"] for each in others] == [STEPS - 6, STEPS - 3, STEPS - 3]
    total = sum(each["trained_tokens"] for each in found["data"])
    assert found["cost"]["trained_tokens"] == shown["trained_tokens"] == total
    assert found["cost"]["runs"] == pytest.approx(1.5, abs=0.05)
    best = min(each["rungs"][1]["valid_loss"] for each in (winner, others[0]))
    last = winner["rungs"][-1]
    assert last["behind"] == pytest.approx(last["valid_loss"] - best)
    assert last["behind"] <= last["noise"]

    own = tenant.http.get(f"{url}/metrics", params={"candidate": found["winner"]}).json()["data"]
    assert tenant.http.get(f"{url}/metrics").json()["data"] == own
    assert [point["step"] for point in own] == list(range(1, STEPS + 1))
    messages = [event.message for event in tenant.openai.fine_tuning.jobs.list_events(job["id"], limit=100)]
    assert any(f"Of 4 candidates, adapter.r {rank} wins: " in message for message in messages)
    assert sum("candidates train on" in message for message in messages) == 2
    picture = tenant.http.get(f"{url}/candidates/curves")
    assert picture.headers["content-type"].startswith("image/svg+xml")
    assert picture.text.count("<polyline") == 4


def test_a_sweep_is_one_job_that_publishes_the_best_of_its_grid(tiny: Api, tenant: Tenant) -> None:
    """One rate does not move, one learns, and at one the loss bursts; that one leaves alone."""
    rates = [1e-9, 2e-2, 1.0]
    body = {
        **JOB,
        **files(tenant),
        "training": {"max_grad_norm": 1e9},
        "parameters": {"training.learning_rate": rates, "adapter.r": [4]},
    }
    sweep = tenant.http.post(SWEEPS, json=body).json()
    assert (sweep["object"], sweep["status"], sweep["winner"]) == ("fine_tuning.sweep", "queued", None)
    assert tenant.job(sweep["job_id"])["training"]["learning_rate"] == "auto"
    train(tiny, sweep["job_id"])
    found = tenant.http.get(f"{SWEEPS}/{sweep['id']}").json()
    best, *_ = found["candidates"]
    assert (found["status"], found["winner"], best["values"]["training.learning_rate"]) == (
        "succeeded",
        1,
        2e-2,
    )
    assert (best["adapter"]["r"], best["adapter"]["lora_alpha"]) == (4, 8)
    job = tenant.job(sweep["job_id"])
    assert (job["training"]["learning_rate"], job["adapter_id"]) == (2e-2, found["adapter_id"])
    assert [each["id"] for each in tenant.http.get(SWEEPS).json()["data"]] == [sweep["id"]]
    with tiny.sessions() as session:
        mine = select(func.max(CandidateMetric.step)).where(CandidateMetric.job_id == sweep["job_id"])
        assert session.scalar(mine) == STEPS
    refusal(tenant.http.post(f"{SWEEPS}/{sweep['id']}/cancel"), 400, None, "job_not_cancellable")
    warnings = [message for level, message in told(tenant, sweep["job_id"]) if level == "warn"]
    on_rates = [message for message in warnings if "peak learning rate" in message]
    assert len(on_rates) == 1
    for rate in ("1e-09", "0.02", "1.0"):
        assert f"Candidate adapter.r 4, training.learning_rate {rate}: The peak" in on_rates[0]


@pytest.mark.exhaustive
def test_a_candidate_that_the_base_model_has_no_modules_for_fails_alone(tiny: Api, tenant: Tenant) -> None:
    parameters = {"adapter.target_modules": [["no_such_proj"], ["q_proj"], ["v_proj"]]}
    body = {**JOB, **files(tenant), "training": {"learning_rate": 1e-3}, "parameters": parameters}
    sweep = tenant.http.post(SWEEPS, json=body).json()
    train(tiny, sweep["job_id"])
    found = tenant.http.get(f"{SWEEPS}/{sweep['id']}").json()
    *_, refused = found["candidates"]
    assert (found["status"], refused["number"], refused["status"], refused["step"]) == (
        "succeeded",
        0,
        "failed",
        0,
    )
    assert "no_such_proj" in refused["reason"]
    assert found["winner"] in (1, 2)
    name = "Candidate adapter.target_modules ['no_such_proj']"
    assert ("warn", f"{name} cannot go on: {refused['reason']}") in told(tenant, sweep["job_id"])


@pytest.mark.exhaustive
def test_a_search_that_is_given_back_ends_as_an_undisturbed_one(tiny: Api, tenant: Tenant) -> None:
    """To the bit, with what was told of each candidate. It has been at its first rung by then."""
    rows = dataset(20)
    named = {"training_file": tenant.upload(rows), "validation_file": tenant.upload(ROWS)}
    job = {**JOB, **named, "hyperparameters": {"n_epochs": 15, "batch_size": 4}, "adapter": {"r": "auto"}}
    undisturbed = tenant.create_job(**job, training={"learning_rate": 1e-2})["id"]
    train(tiny, undisturbed)
    stopped = tenant.create_job(**job, training={"learning_rate": 1e-2})["id"]
    with running(tiny):
        wait_for(lambda: tenant.job(stopped)["progress"]["step"] > 30, 240)
    assert (job_of(tiny, stopped).status, job_of(tiny, stopped).fence) == ("queued", 1)
    train(tiny, stopped)
    assert job_of(tiny, stopped).fence == 2
    results = []
    for job_id in (undisturbed, stopped):
        adapter = tenant.http.get(f"/v1/adapters/{tenant.job(job_id)['adapter_id']}").json()
        (weights,) = [file for file in adapter["files"] if file["name"].endswith(".safetensors")]
        results.append(
            (weights["sha256"], tenant.http.get(f"/v1/fine_tuning/jobs/{job_id}/candidates").json())
        )
    assert results[0] == results[1]
    messages = [[message for _, message in told(tenant, job_id)] for job_id in (undisturbed, stopped)]
    assert any("All 4 candidates: The peak learning rate 0.01" in message for message in messages[0])
    assert sum("candidates train on" in message for message in messages[0]) == 2
    for message in messages[0]:
        if "andidates" in message:
            assert messages[1].count(message) == 1
