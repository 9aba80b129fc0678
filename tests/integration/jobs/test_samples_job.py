"""Jobs that tell what their model answers at each evaluation: on a real trainer."""

import json
import time
from typing import Any

import pytest

from cli.commands.files import sample
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api, Tenant, dataset, row, wait_for
from tests.fixtures.service.stack import preference
from tests.fixtures.service.trainer import job_of, running
from worker.engine.sampler import answers
from worker.engine.sampler.requests import Piece
from worker.engine.sampler.sampler import Sampler
from worker.trainer.report.samples import ELLIPSIS, MOST_CHARACTERS

HELD_OUT = [row(f"{number} is another matter") for number in range(4)]


def create(tenant: Tenant, **training: Any) -> str:
    """A job of six steps, evaluated after each second one."""
    held_out = "".join(json.dumps(each) + "\n" for each in HELD_OUT).encode()
    files = {"training_file": tenant.upload(dataset(12)), "validation_file": tenant.upload(held_out)}
    body = {"seed": 3, "hyperparameters": {"n_epochs": 2, "batch_size": 4}, **files}
    training = {"learning_rate": 2e-3, "eval_steps": 2, **training}
    return str(tenant.create_job(model=TINY, training=training, **body)["id"])


OF_THE_MACHINE = {"tokens_per_second", "trained_seconds", "trainer_memory_bytes"}


def wait_for_success(fp32_api: Api, *job_ids: str) -> None:
    for job_id in job_ids:
        wait_for(lambda job_id=job_id: job_of(fp32_api, job_id).status not in ("queued", "running"), 240)
        assert job_of(fp32_api, job_id).status == "succeeded", job_of(fp32_api, job_id).error


def metrics(tenant: Tenant, job_id: str) -> list[dict[str, Any]]:
    """Without what clock and memory say."""
    found = tenant.http.get(f"/v1/fine_tuning/jobs/{job_id}/metrics").json()["data"]
    return [{name: value for name, value in point.items() if name not in OF_THE_MACHINE} for point in found]


def test_each_evaluation_tells_what_the_model_answers_and_changes_no_number(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    with running(fp32_api):
        wait_for_success(fp32_api, sampled := create(tenant, eval_samples=2, eval_max_new_tokens=5))
        wait_for_success(fp32_api, undisturbed := create(tenant, eval_samples=0))
    found = tenant.events(sampled, type="samples")[::-1]
    steps = [event["data"]["step"] for event in found]
    assert steps == [0, 2, 3, 4, 6], "before the first step, each second step and each epoch's end"
    assert found[1]["message"] == "Step 2: the model's answers to 2 validation prompts"
    for event in found:
        assert [each["line"] for each in event["data"]["rows"]] == [1, 2]
        for each, held_out in zip(event["data"]["rows"], HELD_OUT, strict=False):
            question, answer = (message["content"] for message in held_out["messages"][-2:])
            assert question.strip() in each["prompt"]
            assert each["expected"] == answer
            assert len(each["answer"]) <= 5
    assert metrics(tenant, sampled) == metrics(tenant, undisturbed)
    everything = tenant.events(sampled)[::-1]
    assert [event for event in everything if event["type"] == "samples"] == found
    assert tenant.events(undisturbed, type="samples") == []


@pytest.mark.exhaustive
def test_pairs_are_answered_by_their_prompts_beside_the_preferred_answer(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    tickets = sample.held_out(16)
    files = {
        "training_file": tenant.upload(preference(tickets[:12])),
        "validation_file": tenant.upload(preference(tickets[12:])),
    }
    method = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1, "batch_size": 12}}}
    training = {"eval_samples": 3, "eval_max_new_tokens": 2}
    job_id = tenant.create_job(model=TINY, training=training, method=method, **files)["id"]
    with running(fp32_api):
        wait_for_success(fp32_api, job_id)
    event, _ = tenant.events(job_id, type="samples")
    assert [each["line"] for each in event["data"]["rows"]] == [1, 2, 3]
    for each, ticket in zip(event["data"]["rows"], tickets[12:], strict=False):
        assert each["expected"] == ticket.record.strip()


def test_a_model_whose_code_breaks_in_a_generation_is_trained_without_samples(
    fp32_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("no cache of this kind")

    monkeypatch.setattr(Sampler, "step", broken)
    tenant = fp32_api.tenant()
    job_id = create(tenant, eval_samples=2)
    with running(fp32_api):
        wait_for_success(fp32_api, job_id)
    assert tenant.events(job_id, type="samples") == []
    warnings = [event for event in tenant.events(job_id) if event["level"] == "warn"]
    (warning,) = [event for event in warnings if event["data"] is None or "mend" not in event["data"]]
    assert "no cache of this kind" in warning["message"]


def test_a_model_may_say_what_the_database_does_not_take(
    fp32_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        answers,
        "_answer",
        lambda _base, row, *_: answers.Answer(row.line, "p" * 9999, "e" * 9999, "a\x00b", finished=True),
    )
    tenant = fp32_api.tenant()
    job_id = create(tenant, eval_samples=1)
    with running(fp32_api):
        wait_for_success(fp32_api, job_id)
    (told, *_) = tenant.events(job_id, type="samples")[-1]["data"]["rows"]
    assert told["answer"] == "a\N{REPLACEMENT CHARACTER}b"
    assert told["prompt"] == ELLIPSIS + "p" * MOST_CHARACTERS
    assert told["expected"] == "e" * MOST_CHARACTERS + ELLIPSIS


@pytest.mark.exhaustive
def test_a_long_generation_ends_with_the_job(fp32_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Sampler.step

    def resting_step(sampler: Sampler) -> list[Piece]:
        time.sleep(0.005)  # or the answers of the tiny model would end before the pause
        return step(sampler)

    monkeypatch.setattr(Sampler, "step", resting_step)
    tenant = fp32_api.tenant()
    job_id = create(tenant, eval_samples=2, eval_max_new_tokens=512, eval_steps=3)
    with running(fp32_api):
        wait_for(lambda: len(tenant.events(job_id, type="samples")) > 1, 240)
        tenant.http.post(f"/v1/fine_tuning/jobs/{job_id}/pause")
        wait_for(lambda: job_of(fp32_api, job_id).status == "paused", 120)
        tenant.http.post(f"/v1/fine_tuning/jobs/{job_id}/resume")
        wait_for_success(fp32_api, job_id)
    steps = [event["data"]["step"] for event in tenant.events(job_id, type="samples")[::-1]]
    assert steps == [0, 3, 6], "each once, also the one in which the pause came"
