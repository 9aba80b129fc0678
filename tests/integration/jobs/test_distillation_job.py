"""Jobs with distillation, from the request to the result: a student comes nearer to its teacher."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select

from cli.embedded import EmbeddedServers
from core.tables import ChatUsage
from tests.fixtures.models.tiny import OTHER, TINY, numbers, save_model, text, tiny_llama
from tests.fixtures.processes.resting import resting
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.chatting import serving_for
from tests.fixtures.service.trainer import job_of, running

JOBS = "/v1/fine_tuning/jobs"
EXACT = {"learning_rate": 2e-2, "lr_scheduler_type": "constant", "warmup_ratio": 0}
STRANGER = "stranger"
STRANGERS_ENTRY = """
[[model]]
id = "{id}"
repository = "example/{id}"
source = "folder"
path = "{path}"
revision = "1"
license = "MIT"
max_length = 512
dtype = "fp32"
"""


class School(NamedTuple):
    """A project with the name of its teacher, which an API with a server behind it answers for."""

    api: Api
    tenant: Tenant
    teacher: str


def rows(count: int, answer: str | None = None) -> bytes:
    found = []
    for line in range(count):
        messages = [{"role": "user", "content": f"Say it, number {line}."}]
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
        found.append(json.dumps({"messages": messages}))
    return "\n".join(found).encode()


def finish(api: Api, job_id: str, status: str = "succeeded") -> None:
    with running(api):
        wait_for(lambda: job_of(api, job_id).status not in ("queued", "running"), 240)
    job = job_of(api, job_id)
    assert job.status == status, job.error


@pytest.fixture(scope="module")
def school(
    fp32_api: Api, servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[School]:
    """Yield a teacher that a supervised job has made of the student's base model, and a server for it."""
    tenant = fp32_api.tenant()
    lesson = tenant.create_job(
        model=TINY,
        training_file=tenant.upload(rows(24, "abcabc")),
        hyperparameters={"n_epochs": 6, "batch_size": 4},
        training=EXACT,
        seed=1,
    )
    finish(fp32_api, lesson["id"])
    teacher = str(tenant.job(lesson["id"])["fine_tuned_model"])
    with serving_for(fp32_api, servers, tmp_path_factory.mktemp("serving")) as serving:
        serving.start()
        yield School(fp32_api, tenant, teacher)


def create(school: School, teacher: str | None = None, **options: Any) -> str:
    hyperparameters = {
        "n_epochs": 2,
        "batch_size": 4,
        "num_generations": 8,
        "max_completion_tokens": 16,
        "eval_interval": 12,
        "eval_samples": 1,
        "learning_rate_multiplier": 0.2,
        **options,
    }
    job = school.tenant.create_job(
        model=TINY,
        training_file=school.tenant.upload(rows(24)),
        validation_file=school.tenant.upload(rows(10)),
        method={
            "type": "distillation",
            "distillation": {"teacher": teacher or school.teacher, "hyperparameters": hyperparameters},
        },
        training=EXACT,
        seed=3,
    )
    return str(job["id"])


def points(school: School, job_id: str) -> list[dict[str, Any]]:
    found = school.tenant.http.get(f"{JOBS}/{job_id}/metrics", params={"after_step": -1}).json()
    return list(found["data"])


def read_by_teacher(school: School) -> int:
    """Return the tokens of the teacher that count in the project's usage."""
    counted = select(func.coalesce(func.sum(ChatUsage.prompt_tokens), 0)).where(
        ChatUsage.project_id == school.tenant.project_id, ChatUsage.model == school.teacher
    )
    with school.api.sessions() as session:
        return int(session.scalar(counted) or 0)


def test_a_student_comes_nearer_to_its_teacher_and_pays_for_what_it_reads(school: School) -> None:
    before = read_by_teacher(school)
    job_id = create(school, eval_samples=32)  # so that their mean hardly depends on the draws
    finish(school.api, job_id)
    series = points(school, job_id)
    far = {
        point["step"]: point["full_valid_mean_reverse_kl"]
        for point in series
        if point.get("full_valid_mean_reverse_kl") is not None
    }
    assert set(far) == {0, 6, 12}, "before the first step, and after each epoch"
    assert 0 < far[12] < far[0] / 2, far
    steps = series[1:]
    assert all(point["train_mean_reverse_kl"] is not None for point in steps)
    assert {point["policy_gap_max"] for point in steps} == {0.0}, "both compute the same in fp32"
    assert {point["train_teacher_error_mean"] for point in steps} == {0.0}
    told = sum(
        point.get(f"{part}_teacher_tokens") or 0 for point in series for part in ("train", "full_valid")
    )
    assert told == read_by_teacher(school) - before
    events = school.tenant.http.get(f"{JOBS}/{job_id}/events", params={"limit": 100}).json()["data"]
    shown = [event["data"]["rows"] for event in events if event["type"] == "samples"]
    assert len(shown) == len(far)
    assert all(row["reverse_kl"] is not None for answers in shown for row in answers)


def test_a_job_that_is_resumed_learns_to_the_bit_what_it_would_have_learnt(school: School) -> None:
    whole = create(school)
    finish(school.api, whole)
    resumed = create(school)
    with resting(0.2), running(school.api):
        wait_for(lambda: school.tenant.job(resumed)["progress"]["step"] >= 3, 240)
    assert school.tenant.job(resumed)["status"] == "queued", "it was interrupted"
    finish(school.api, resumed)
    told = ("train_loss", "train_mean_reverse_kl", "grad_norm", "full_valid_mean_reverse_kl")
    one, other = (
        [{name: point.get(name) for name in told} for point in points(school, job_id)]
        for job_id in (whole, resumed)
    )
    assert one == other


def test_a_teacher_that_is_the_student_by_another_name_ends_the_job_with_what_to_do(school: School) -> None:
    job_id = create(school, teacher=OTHER)  # the same weights
    finish(school.api, job_id, "failed")
    error = school.tenant.job(job_id)["error"]
    assert (error["code"], error["param"]) == ("nothing_to_learn", "method.distillation.teacher")
    assert "Name another teacher" in error["message"]


def test_a_teacher_with_another_tokenizer_is_refused_as_soon_as_it_is_known(
    school: School, tmp_path: Path
) -> None:
    """The API's machine may lack the files of the teacher's base model. Then the worker compares them."""
    stranger, catalog = tmp_path / "model", school.api.settings.catalog_file
    assert catalog is not None
    save_model(tiny_llama(), stranger, text)
    tokenizer = stranger / "tokenizer.json"
    tokenizer.unlink()
    with catalog.open("a") as file:
        file.write(STRANGERS_ENTRY.format(id=STRANGER, path=stranger))
    job_id = create(school, teacher=STRANGER)
    numbers().save_pretrained(stranger)
    finish(school.api, job_id, "failed")
    error = school.tenant.job(job_id)["error"]
    assert (error["code"], error["param"]) == ("other_tokenizer", "method.distillation.teacher")
    assert "Their vocabularies differ" in error["message"]
    refused = school.tenant.ask_for_job(
        model=TINY,
        training_file=school.tenant.upload(rows(24)),
        validation_split=10,
        method={"type": "distillation", "distillation": {"teacher": STRANGER}},
    )
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["code"] == "other_tokenizer"
