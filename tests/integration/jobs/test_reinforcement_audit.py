"""The gate against reward hacking: a grader that can be exploited, and an audit that falls meanwhile."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from transformers import LlamaConfig

from cli.embedded import EmbeddedServers
from core.tables import Checkpoint
from tests.fixtures.models.tiny import tiny_llama, write_base
from tests.fixtures.processes.resting import resting
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import running
from tests.integration.jobs.test_reinforcement_job import create, finish, points

AUDIT = {
    "type": "python",
    "name": "likes_the_rest",
    "source": """
def grade(sample, item):
    text = sample["output_text"]
    return sum(letter not in item["wanted"] for letter in text) / max(1, len(text))
""",
}
BROKEN = {"type": "python", "name": "broken", "source": "def grade(sample, item):\n    return 1 / 0"}
AUDITED: dict[str, Any] = {"audit": AUDIT, "n_epochs": 1, "eval_interval": 1, "eval_samples": 2}
WEIGHTS = "adapter_model.safetensors"


def steep_llama() -> LlamaConfig:
    """Return a tiny model that prefers some tokens clearly, so that few steps change its answers."""
    config = tiny_llama()
    config.initializer_range *= 10
    return config


@pytest.fixture(scope="module")
def steep_api(
    servers: EmbeddedServers, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    folder: Path = tmp_path_factory.mktemp("base")
    write_base(folder, dtype="fp32", make=steep_llama)
    with job_api_on(servers, database_url, catalog_file=folder / "catalog.toml") as api:
        yield api


@pytest.fixture(scope="module")
def stopped(steep_api: Api) -> tuple[Tenant, str]:
    """A job that its audit has ended, with its tenant."""
    tenant = steep_api.tenant()
    job_id = create(tenant, **AUDITED, stop_on_audit=True)
    finish(steep_api, job_id)
    return tenant, job_id


def events(tenant: Tenant, job_id: str) -> list[dict[str, Any]]:
    found = tenant.http.get(f"/v1/fine_tuning/jobs/{job_id}/events", params={"limit": 100}).json()
    return list(found["data"])


def told(tenant: Tenant, job_id: str, code: str) -> list[dict[str, Any]]:
    return [event for event in events(tenant, job_id) if (event["data"] or {}).get("code") == code]


def checkpoints(api: Api, job_id: str) -> list[Checkpoint]:
    with api.sessions() as session:
        return list(session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id)))


def published(tenant: Tenant, job_id: str) -> dict[str, Any]:
    found = tenant.http.get(f"/v1/adapters/{tenant.job(job_id)['adapter_id']}").json()
    return dict(found)


def weights(files: list[dict[str, Any]]) -> str:
    return next(str(file["sha256"]) for file in files if file["name"] == WEIGHTS)


def test_an_exploited_grader_is_told_once_with_the_rows_while_the_job_goes_on(steep_api: Api) -> None:
    tenant = steep_api.tenant()
    job_id = create(tenant, **AUDITED)
    finish(steep_api, job_id)
    (warning,) = told(tenant, job_id, "reward_hacking")
    found = warning["data"]
    assert warning["level"] == "warn"
    assert found["reward"]["difference"] > 0 > found["audit"]["difference"]
    assert max(found["reward"]["p_value"], found["audit"]["p_value"]) < 0.05
    for change in (found["reward"], found["audit"]):
        assert change["low"] < change["difference"] < change["high"]
        assert f"{change['difference']:+.3g}" in warning["message"]
    falls = [row["last_audit"] - row["first_audit"] for row in found["rows"]]
    assert falls == sorted(falls)
    assert len(falls) == 5
    assert ", ".join(str(row["line"]) for row in found["rows"]) in warning["message"]
    assert told(tenant, job_id, "stopped_on_audit") == []
    training = published(tenant, job_id)["training"]
    assert (training["published_step"], training["stopped_early"]) == (6, False)


def test_validations_show_the_audit_beside_the_reward_and_steps_do_not(stopped: tuple[Tenant, str]) -> None:
    tenant, job_id = stopped
    series = points(tenant, job_id)
    for point in series:
        audit, reward = (point["scores"]["graders"][number] for number in (1, 0))
        assert (reward["name"], audit["name"]) == ("likes_letters", "likes_the_rest")
        assert audit["full_valid_reward_mean"] == pytest.approx(point["full_valid_mean_audit"])
        assert not [name for name in audit if name.startswith("train")]
        assert point["errors"]["graders"][1]["full_valid_grader_error_mean"] == 0
        assert 0 <= point["full_valid_repetition_mean"] < 1
        tenth, half, most = (point[f"full_valid_prompt_reward_p{percent}"] for percent in (10, 50, 90))
        assert reward["full_valid_reward_min"] <= tenth <= half <= most <= reward["full_valid_reward_max"]
    assert "train_reward_mean" in series[1]["scores"]["graders"][0]
    assert series[0]["full_valid_completion_tokens_ratio"] == 1
    assert series[1]["completion_tokens_ratio"] > 0
    shown = [event["data"]["rows"] for event in events(tenant, job_id) if event["type"] == "samples"]
    for row in [row for rows in shown for row in rows if row["answer"]]:
        assert row["reward"] + row["audit"] == pytest.approx(1)


def test_a_job_that_stops_on_its_audit_publishes_the_last_state_before_the_fall(
    steep_api: Api, stopped: tuple[Tenant, str]
) -> None:
    tenant, job_id = stopped
    (warning,) = told(tenant, job_id, "reward_hacking")
    (stop,) = told(tenant, job_id, "stopped_on_audit")
    step, best_step = stop["data"]["step"], stop["data"]["best_step"]
    assert best_step < step == warning["data"]["step"] < 6
    result = published(tenant, job_id)
    training = result["training"]
    assert (training["steps"], training["stopped_early"], training["published_step"]) == (
        step,
        True,
        best_step,
    )
    (best,) = [checkpoint for checkpoint in checkpoints(steep_api, job_id) if checkpoint.best]
    assert best.step == best_step
    assert weights(best.files) == weights(result["files"])
    listed = [checkpoint.step for checkpoint in checkpoints(steep_api, job_id)]
    assert step not in listed, "a state whose audit has fallen is not published"


def test_a_resumed_job_stops_at_the_same_step_with_the_same_state(
    steep_api: Api, stopped: tuple[Tenant, str]
) -> None:
    tenant, whole = stopped
    resumed = create(tenant, **AUDITED, stop_on_audit=True)
    with resting(0.5), running(steep_api):
        wait_for(lambda: checkpoints(steep_api, resumed), 240)
    assert tenant.job(resumed)["status"] == "queued", "it was interrupted before it could stop"
    finish(steep_api, resumed)
    assert any(event["message"].startswith("Resumed from") for event in events(tenant, resumed))
    for code in ("reward_hacking", "stopped_on_audit"):
        (one,), (other,) = (told(tenant, job_id, code) for job_id in (whole, resumed))
        assert one["data"] == other["data"]
    assert weights(published(tenant, whole)["files"]) == weights(published(tenant, resumed)["files"])


def test_an_audit_that_never_judges_ends_the_job_before_its_first_step(steep_api: Api) -> None:
    tenant = steep_api.tenant()
    job_id = create(tenant, **{**AUDITED, "audit": BROKEN})
    finish(steep_api, job_id, "failed")
    job = tenant.job(job_id)
    assert job["error"]["code"] == "grader_failed"
    assert job["error"]["param"] == "method.reinforcement.audit_grader"
    assert "ZeroDivisionError" in job["error"]["message"]
    assert [event for event in events(tenant, job_id) if event["type"] == "metrics"] == []
