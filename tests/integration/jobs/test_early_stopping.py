"""Jobs that end before their schedule does, and jobs that publish their best state: on a real trainer."""

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from cli.demo.compare import mean_loss
from cli.embedded import EmbeddedServers
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.service.api import Api, Tenant, dataset, row, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import job_of, running
from worker.engine.step import loop

HELD_OUT = [row(f"{number} is another matter") for number in range(8)]
STEPS = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    write_base(folder, dtype="fp32")
    return folder


@pytest.fixture(scope="module")
def api(servers: EmbeddedServers, database_url: str, model: Path) -> Iterator[Api]:
    with job_api_on(servers, database_url, catalog_file=model / "catalog.toml") as api:
        yield api


def create(tenant: Tenant, **training: Any) -> str:
    """A job of sixty steps, whose validation loss falls at first and then rises."""
    held_out = "".join(json.dumps(row) + "\n" for row in HELD_OUT).encode()
    files = {"training_file": tenant.upload(dataset(12)), "validation_file": tenant.upload(held_out)}
    body = {"seed": 3, "hyperparameters": {"n_epochs": 20, "batch_size": 4}, **files}
    training = {"learning_rate": 2e-3, "eval_steps": 2, **training}
    return str(tenant.create_job(model=TINY, training=training, **body)["id"])


def wait_for_success(api: Api, *job_ids: str) -> None:
    for job_id in job_ids:
        wait_for(lambda job_id=job_id: job_of(api, job_id).status not in ("queued", "running"), 240)
        assert job_of(api, job_id).status == "succeeded"


def told(tenant: Tenant, job_id: str, code: str) -> list[dict[str, Any]]:
    """The data of the events of that code."""
    return [
        event["data"] for event in tenant.events(job_id)[::-1] if (event["data"] or {}).get("code") == code
    ]


def metrics(tenant: Tenant, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.http.get(f"/v1/fine_tuning/jobs/{job_id}/metrics").json()["data"]
    return found


def checkpoints(tenant: Tenant, job_id: str) -> list[dict[str, Any]]:
    page = tenant.http.get(f"/v1/fine_tuning/jobs/{job_id}/checkpoints").json()
    found: list[dict[str, Any]] = page["data"]
    return found


def loss_in_plain_peft(tenant: Tenant, job_id: str, model: Path, folder: Path) -> float:
    """Of the published adapter, on the held-out rows."""
    archive = tenant.http.get(f"/v1/adapters/{tenant.job(job_id)['adapter_id']}/content").content
    zipfile.ZipFile(io.BytesIO(archive)).extractall(folder)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model / "model"), folder)
    rows = [held_out["messages"] for held_out in HELD_OUT]
    return mean_loss(plain, AutoTokenizer.from_pretrained(folder), rows)


@pytest.mark.exhaustive
def test_a_job_that_no_longer_improves_ends_with_its_best_state_while_its_neighbour_goes_on(
    api: Api, model: Path, tmp_path: Path
) -> None:
    tenant = api.tenant()
    stopping, neighbour = create(tenant, early_stopping_patience=5), create(tenant)
    with running(api):
        wait_for_success(api, stopping, neighbour)

    series = metrics(tenant, stopping)
    losses = {point["step"]: point["full_valid_loss"] for point in series if point["full_valid_loss"]}
    best = min(losses, key=lambda step: losses[step])
    (event,) = told(tenant, stopping, "early_stopping")
    assert (event["best_step"], event["best_valid_loss"]) == (best, losses[best])
    assert list(losses)[-6:] == [best, *list(losses)[-5:]], "five evaluations without a lower loss"
    assert event["step"] == series[-1]["step"] < STEPS
    assert best % 3, "between the ends of two epochs: else this test sees less"

    shown = tenant.job(stopping)
    assert shown["progress"]["step"] == shown["progress"]["total_steps"] == event["step"]
    assert shown["progress"]["percent"] == 100
    assert (shown["progress"]["best_step"], shown["progress"]["best_valid_loss"]) == (best, losses[best])
    assert shown["trained_tokens"] < tenant.job(neighbour)["trained_tokens"]
    assert [
        checkpoint["step_number"] for checkpoint in checkpoints(tenant, stopping) if checkpoint["best"]
    ] == [best]
    lineage = tenant.http.get(f"/v1/adapters/{shown['adapter_id']}").json()["training"]
    assert (lineage["published_step"], lineage["steps"]) == (best, event["step"])
    assert lineage["stopped_early"] is True
    assert lineage["full_valid_loss"] == losses[best]
    assert loss_in_plain_peft(tenant, stopping, model, tmp_path) == pytest.approx(losses[best], rel=1e-3)

    assert len(metrics(tenant, neighbour)) == STEPS
    assert told(tenant, neighbour, "early_stopping") == []
    of_neighbour = tenant.http.get(f"/v1/adapters/{tenant.job(neighbour)['adapter_id']}").json()["training"]
    assert (of_neighbour["published_step"], of_neighbour["stopped_early"]) == (STEPS, False)
    (measures,) = told(tenant, neighbour, "measures")
    for name in ("recompute", "step_tokens"):
        assert measures[name] == of_neighbour[name]


@pytest.mark.exhaustive
def test_a_job_that_was_interrupted_stops_at_the_same_step_and_tells_so_once(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = api.tenant()
    undisturbed = create(tenant, early_stopping_patience=10)
    with running(api):
        wait_for_success(api, undisturbed)
    (expected,) = told(tenant, undisturbed, "early_stopping")

    train_round, may_hurry = loop.train_round, threading.Event()

    def slowly(base: Any, trainees: Any, *arguments: Any) -> Any:
        """Take time after the best step, so that the pause comes before the job stops."""
        if trainees[0].step > expected["best_step"]:
            may_hurry.wait(1)
        return train_round(base, trainees, *arguments)

    monkeypatch.setattr(loop, "train_round", slowly)
    disturbed = create(tenant, early_stopping_patience=10)
    with running(api):
        wait_for(lambda: tenant.job(disturbed)["progress"]["step"] >= expected["best_step"] + 1, 240)
        assert tenant.http.post(f"/v1/fine_tuning/jobs/{disturbed}/pause").status_code == 200
        wait_for(lambda: job_of(api, disturbed).status == "paused", 240)
        may_hurry.set()
        paused_at = tenant.job(disturbed)["progress"]["step"]
        assert expected["best_step"] < paused_at < expected["step"]
        tenant.http.post(f"/v1/fine_tuning/jobs/{disturbed}/resume")
        wait_for_success(api, disturbed)
    assert told(tenant, disturbed, "early_stopping") == [expected]
    assert tenant.job(disturbed)["trained_tokens"] == tenant.job(undisturbed)["trained_tokens"]
    both = [
        tenant.http.get(f"/v1/adapters/{tenant.job(job_id)['adapter_id']}").json()
        for job_id in (undisturbed, disturbed)
    ]
    weights = [
        {file["name"]: file["sha256"] for file in shown["files"]}["adapter_model.safetensors"]
        for shown in both
    ]
    assert weights[0] == weights[1]


@pytest.mark.exhaustive
def test_warnings_come_once_with_numbers_and_a_job_as_usual_gets_none(api: Api) -> None:
    tenant = api.tenant()
    different = dataset(12).splitlines(keepends=True)
    prompts = [line.replace(b'"hi"', f'"question {at}"'.encode()) for at, line in enumerate(different)]
    files = {"training_file": tenant.upload(b"".join(prompts))}
    hyperparameters = {"n_epochs": 8, "batch_size": 4}
    odd = tenant.create_job(
        model=TINY,
        training={"learning_rate": 1e-8},
        adapter={"type": "lora", "r": 64},
        hyperparameters=hyperparameters,
        **files,
    )["id"]
    usual = tenant.create_job(model=TINY, hyperparameters=hyperparameters, **files)["id"]
    with running(api):
        wait_for_success(api, odd, usual)
    warnings = {
        event["data"]["code"]: event["data"]
        for event in tenant.events(odd)
        if event["level"] == "warn" and event["data"]
    }
    assert warnings.keys() == {"unusual_learning_rate", "rank_beyond_data", "loss_does_not_move"}
    assert warnings["unusual_learning_rate"]["learning_rate"] == 1e-8
    assert warnings["unusual_learning_rate"]["usual_learning_rate"] == 2e-4
    assert warnings["rank_beyond_data"]["rank"] == 64
    assert 16 <= warnings["rank_beyond_data"]["enough_rank"] < 64
    assert warnings["loss_does_not_move"]["step"] == 21
    assert not any(event["level"] == "warn" for event in tenant.events(usual))
