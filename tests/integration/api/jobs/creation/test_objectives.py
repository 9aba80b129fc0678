"""Methods beside supervised: their options, what the job shows of them, and which files they take."""

import json
from typing import Any

import pytest
from openai.types.fine_tuning import FineTuningJob

from core.jobs.spec import JobSpec
from core.objectives.dpo import Dpo
from core.objectives.kto import Kto
from core.tables import Job
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal, strictly

USER = {"role": "user", "content": "hi"}


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def lines(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def pairs(rows: int) -> bytes:
    return lines(
        [
            {
                "input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
                "preferred_output": [answer(f"good {number}")],
                "non_preferred_output": [answer(f"bad {number}")],
            }
            for number in range(rows)
        ]
    )


def labelled(rows: int) -> bytes:
    return lines([{"messages": [USER, answer("hello")], "label": number % 2 == 0} for number in range(rows)])


@pytest.fixture(scope="module")
def files(alice: Tenant) -> dict[str, str]:
    return {
        "chat": alice.upload(),
        "preference": alice.upload(pairs(12)),
        "labelled": alice.upload(labelled(12)),
    }


def test_the_official_client_creates_a_dpo_job(api: Api, alice: Tenant, files: dict[str, str]) -> None:
    job = alice.openai.fine_tuning.jobs.create(
        model=BASE_MODEL,
        training_file=files["preference"],
        validation_file=files["preference"],
        method={
            "type": "dpo",
            "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 2, "batch_size": "auto"}},
        },
    )
    shown = alice.job(job.id)
    strict = strictly(FineTuningJob, shown)
    resolved = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.1}
    assert shown["method"] == {"type": "dpo", "dpo": {"hyperparameters": {**resolved, "beta": 0.2}}}
    assert shown["hyperparameters"] == resolved
    assert strict.method is not None
    assert strict.method.dpo is not None
    with api.sessions() as session:
        assert JobSpec.model_validate(session.get_one(Job, job.id).spec).objective == Dpo(beta=0.2)


@pytest.mark.parametrize(
    ("method", "kind", "own"),
    [
        ("dpo", "preference", {"beta": 0.1}),
        ("orpo", "preference", {"beta": 0.1}),
        ("simpo", "preference", {"beta": 2.0, "gamma": 1.0}),
        ("kto", "labelled", {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}),
    ],
)
def test_auto_becomes_numbers_that_the_job_shows(
    alice: Tenant, files: dict[str, str], method: str, kind: str, own: dict[str, float]
) -> None:
    resolved = {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 0.1, **own}
    for options in ({}, {method: {}}, {method: {"hyperparameters": dict.fromkeys(resolved, "auto")}}):
        job = alice.create_job(training_file=files[kind], method={"type": method, **options})
        assert job["method"] == {"type": method, method: {"hyperparameters": resolved}}


def test_every_hyperparameter_of_kto_is_taken(alice: Tenant, api: Api, files: dict[str, str]) -> None:
    asked = {"beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.5}
    job = alice.create_job(
        training_file=files["labelled"], method={"type": "kto", "kto": {"hyperparameters": asked}}
    )
    with api.sessions() as session:
        assert JobSpec.model_validate(session.get_one(Job, job["id"]).spec).objective == Kto(**asked)


def test_the_older_place_serves_dpo_too_but_not_two_minds(alice: Tenant, files: dict[str, str]) -> None:
    asked = {"training_file": files["preference"], "hyperparameters": {"n_epochs": 5}}
    job = alice.create_job(**asked, method={"type": "dpo"})
    assert job["method"]["dpo"]["hyperparameters"]["n_epochs"] == 5
    newer = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 5, "beta": 0.3}}}
    assert alice.create_job(**asked, method=newer)["method"]["dpo"]["hyperparameters"]["beta"] == 0.3
    newer["dpo"] = {"hyperparameters": {"n_epochs": 4}}
    contradicting = alice.http.post(
        "/v1/fine_tuning/jobs", json={"model": BASE_MODEL, **asked, "method": newer}
    )
    refusal(contradicting, 400, "hyperparameters")


@pytest.mark.parametrize(
    ("method", "kind"),
    [("supervised", "preference"), ("dpo", "chat"), ("orpo", "labelled"), ("kto", "preference")],
)
@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_file_of_another_kind_is_refused(
    alice: Tenant, files: dict[str, str], method: str, kind: str, param: str
) -> None:
    fitting = {"supervised": "chat", "kto": "labelled"}.get(method, "preference")
    body = {
        "training_file": files[fitting],
        param: files[kind],
        "model": BASE_MODEL,
        "method": {"type": method},
    }
    error = refusal(alice.http.post("/v1/fine_tuning/jobs", json=body), 400, param, "invalid_file_kind")
    assert f"'{method}'" in error["message"]


def test_what_is_wrong_with_a_pair_is_told_by_line_and_field(alice: Tenant) -> None:
    broken = pairs(2) + lines([{"input": {"messages": [USER]}, "preferred_output": [USER]}])
    answered = alice.http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("x", broken)})
    details = refusal(answered, 400, "file", "invalid_file_format")["details"]
    assert [(found["line"], found["field"], found["code"]) for found in details] == [
        (3, "non_preferred_output", "missing"),
        (3, "preferred_output[0].role", "last_not_assistant"),
    ]
