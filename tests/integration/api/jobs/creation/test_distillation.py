"""The method distillation: what a request may hold, what the job shows of it, and what is refused."""

import json
from typing import Any

import pytest

from core.jobs.spec import JobSpec
from core.objectives.distillation import Distillation
from core.serving.served_model import ServedModel
from core.tables import Job
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal

JOBS, TEACHER = "/v1/fine_tuning/jobs", "method.distillation.teacher"
HYPERPARAMETERS = "method.distillation.hyperparameters"
RESOLVED = {
    "n_epochs": 3,
    "batch_size": 4,
    "learning_rate_multiplier": 0.5,
    "loss_type": "importance_sampling",
    "num_generations": 4,
    "max_completion_tokens": 256,
    "epsilon": 0.2,
    "epsilon_high": 0.28,
    "eval_interval": 5,
    "eval_samples": 1,
}


@pytest.fixture(scope="module")
def file_id(alice: Tenant) -> str:
    rows = [{"messages": [{"role": "user", "content": f"{number} + 1"}]} for number in range(40)]
    return alice.upload(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def tuned(api: Api, tenant: Tenant, adapter_folder: Any) -> str:
    lease = api.claim(tenant.create_job()["id"])
    api.finish(lease, adapter_folder)
    return str(tenant.job(lease.job_id)["fine_tuned_model"])


def method(teacher: str, hyperparameters: Any = None, **beside: Any) -> dict[str, Any]:
    options = {"teacher": teacher, **beside}
    if hyperparameters is not None:
        options["hyperparameters"] = hyperparameters
    return {"type": "distillation", "distillation": options}


def asking(file_id: str, teacher: str, hyperparameters: Any = None, **changed: Any) -> dict[str, Any]:
    asked = method(teacher, hyperparameters)
    return {"training_file": file_id, "validation_file": file_id, "method": asked, **changed}


def test_a_job_shows_its_teacher_and_keeps_what_a_server_loads_for_it(
    api: Api, alice: Tenant, file_id: str, adapter_folder: Any
) -> None:
    teacher = tuned(api, alice, adapter_folder)
    numbers = [name for name, value in RESOLVED.items() if not isinstance(value, str)]
    for hyperparameters in (None, dict.fromkeys(numbers, "auto")):
        job = alice.create_job(**asking(file_id, teacher, hyperparameters))
        assert job["method"]["distillation"] == {
            "teacher": teacher,
            "response_format": None,
            "hyperparameters": RESOLVED,
        }
    with api.sessions() as session:
        spec = JobSpec.model_validate(session.get_one(Job, job["id"]).spec)
    assert isinstance(spec.objective, Distillation)
    served = ServedModel.model_validate(spec.grader_models[teacher])
    assert served.base == BASE_MODEL
    assert served.adapter is not None
    assert "grader_models" not in json.dumps(alice.job(job["id"]))


def test_a_teacher_may_be_an_alias_and_stays_what_it_was(
    api: Api, alice: Tenant, file_id: str, adapter_folder: Any
) -> None:
    teacher = tuned(api, alice, adapter_folder)
    alice.http.post("/v1/aliases", json={"name": "our-teacher", "model": teacher}).raise_for_status()
    job = alice.create_job(**asking(file_id, "our-teacher"))
    alice.http.post("/v1/aliases", json={"name": "our-teacher", "model": BASE_MODEL}).raise_for_status()
    with api.sessions() as session:
        spec = JobSpec.model_validate(session.get_one(Job, job["id"]).spec)
    assert ServedModel.model_validate(spec.grader_models["our-teacher"]).adapter is not None


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"method": {"type": "distillation"}}, TEACHER, "Missing required parameter"),
        ({"method": method("nobody-knows")}, TEACHER, "nobody-knows"),
        ({"method": method("")}, TEACHER, "at least 1"),
        ({"method": method(BASE_MODEL)}, TEACHER, "the model that the job begins with"),
        ({"validation_file": None}, "validation_file", "The method 'distillation' needs prompts"),
        ({"training": {"devices": 2}}, "training.devices", "the method 'distillation'"),
        ({"training": {"eval_steps": 3}}, "training.eval_steps", f"'{HYPERPARAMETERS}.eval_interval'"),
        ({"adapter": {"type": "lora", "lora_dropout": 0.1}}, "adapter.lora_dropout", "'distillation'"),
        (
            {"method": method(BASE_MODEL, {"num_generations": 65})},
            f"{HYPERPARAMETERS}.num_generations",
            "64",
        ),
        (
            {"method": method(BASE_MODEL, {"teacher": BASE_MODEL})},
            f"{HYPERPARAMETERS}.teacher",
            f"as '{TEACHER}'",
        ),
        ({"method": {"type": "gkd"}}, "method.type", 'called "distillation" here'),
        ({"evaluate": {}}, "evaluate.criteria", "by what an answer is judged"),
    ],
)
def test_what_such_a_job_cannot_have_is_refused_with_the_way_out(
    api: Api, alice: Tenant, file_id: str, body: dict[str, Any], param: str, says: str
) -> None:
    before = api.job_count()
    asked = asking(file_id, "ft:any", **body) if "method" in body else asking(file_id, BASE_MODEL, **body)
    error = refusal(alice.ask_for_job(**asked), 400, param)
    assert says in error["message"]
    assert api.job_count() == before


def test_a_model_of_another_project_is_no_teacher(
    api: Api, alice: Tenant, bob: Tenant, file_id: str, adapter_folder: Any
) -> None:
    refusal(alice.ask_for_job(**asking(file_id, tuned(api, bob, adapter_folder))), 400, TEACHER)


def test_an_estimate_counts_the_answers_of_a_distillation_too(
    api: Api, alice: Tenant, file_id: str, adapter_folder: Any
) -> None:
    small = {"num_generations": 2, "max_completion_tokens": 50, "n_epochs": 2}
    asked = asking(file_id, tuned(api, alice, adapter_folder), small)
    found = alice.http.post("/v1/fine_tuning/estimates", json={"model": BASE_MODEL, **asked}).json()
    assert found["tokens"]["sampled"] == 2 * 40 * 2 * 50
