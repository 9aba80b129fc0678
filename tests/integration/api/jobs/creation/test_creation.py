"""POST /v1/fine_tuning/jobs: what a job gets from its request, and when its client hears of it."""

import json
import time
from typing import Any

import httpx
import pytest
from openai.types.fine_tuning import FineTuningJob
from sqlalchemy import text

from core.jobs.dispatch import TASK, create_celery, queue_for
from core.tables import Job
from tests.fixtures.service.api import BASE_MODEL, MAX_LENGTH, Api, Tenant, refusal, strictly, wait_for

JOBS = "/v1/fine_tuning/jobs"


def test_the_official_client_creates_a_job(alice: Tenant, training_file: str) -> None:
    job = alice.openai.fine_tuning.jobs.create(
        model=BASE_MODEL,
        training_file=training_file,
        validation_file=training_file,
        suffix="my-model",
        seed=42,
        metadata={"team": "support"},
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "learning_rate_multiplier": 0.5}},
        },
        extra_body={
            "adapter": {"type": "lora", "r": 8},
            "training": {"lr_scheduler_type": "linear", "deterministic": True},
        },
    )

    assert (job.status, job.object, job.seed) == ("queued", "fine_tuning.job", 42)
    shown = alice.job(job.id)
    strict = strictly(FineTuningJob, shown)
    assert strict.id == job.id
    assert strict.metadata == {"team": "support"}
    assert strict.validation_file == training_file
    resolved = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5}
    assert shown["hyperparameters"] == resolved
    assert shown["method"] == {"type": "supervised", "supervised": {"hyperparameters": resolved}}
    assert (shown["adapter"]["r"], shown["adapter"]["lora_alpha"]) == (8, 32)
    assert (shown["training"]["lr_scheduler_type"], shown["training"]["max_length"]) == ("linear", MAX_LENGTH)
    assert shown["training"]["deterministic"] is True
    assert (shown["user_provided_suffix"], shown["started_at"]) == ("my-model", None)
    assert shown["fine_tuned_model"] is None
    assert shown["adapter_id"] is None


def test_auto_becomes_numbers_that_fit_the_file(alice: Tenant, training_file: str) -> None:
    job = alice.create_job(training_file=training_file, hyperparameters={"n_epochs": "auto"})
    assert job["hyperparameters"] == {"n_epochs": 10, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert 0 <= job["seed"] < 2**31
    assert job["seed"] != alice.create_job(training_file=training_file)["seed"]


def test_the_learning_rate_is_the_method_s_usual_one_unless_it_is_named(
    alice: Tenant, training_file: str
) -> None:
    usual = alice.http.get("/v1/methods/lora").json()["learning_rate"]
    job = alice.create_job(training_file=training_file, adapter={"type": "lora"})
    assert job["training"]["learning_rate"] == usual == 2e-4
    named = alice.create_job(training_file=training_file, training={"learning_rate": 0.5})
    assert named["training"]["learning_rate"] == 0.5


def test_hyperparameters_are_taken_from_either_place_but_not_two_minds(
    alice: Tenant, training_file: str
) -> None:
    older = {"hyperparameters": {"n_epochs": 3}}
    newer = {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}}}
    for body in (older, newer, older | newer):
        assert alice.create_job(training_file=training_file, **body)["hyperparameters"]["n_epochs"] == 3
    contradicting = {"hyperparameters": {"n_epochs": 4}} | newer
    refusal(alice.ask_for_job(training_file=training_file, **contradicting), 400, "hyperparameters")


@pytest.mark.parametrize(
    "body",
    [
        {"method": None, "hyperparameters": None, "integrations": None, "adapter": None, "training": None},
        {"suffix": None, "seed": None, "metadata": None, "validation_file": None},
        {"integrations": [], "method": {"type": "supervised"}, "metadata": {}},
        {"method": {"type": "supervised", "supervised": {}, "dpo": None, "reinforcement": None}},
        {"metadata": {"k" * 64: "v" * 512} | {f"key{number}": "" for number in range(15)}},
        {"suffix": "x" * 64, "seed": 2**31 - 1, "training": {"max_length": MAX_LENGTH}},
        {"adapter": {"target_modules": ["q_proj"], "init_lora_weights": "gaussian"}},
        {"adapter": {"use_dora": True, "lora_dropout": 0.1}},
        {"adapter": {"use_dora": False, "lora_dropout": 0.0, "rank_pattern": {}, "exclude_modules": None}},
        {"training": {"learning_rate": None, "loraplus_lr_ratio": None}},
    ],
)
def test_what_is_allowed_is_accepted(alice: Tenant, training_file: str, body: dict[str, Any]) -> None:
    strictly(FineTuningJob, alice.create_job(training_file=training_file, **body))


def test_unknown_parameters_are_ignored_with_a_warning_that_names_them(
    alice: Tenant, training_file: str
) -> None:
    job = alice.create_job(training_file=training_file, service_tier="auto", **{"x" * 999: 1})
    (warning,) = [event for event in alice.events(job["id"]) if event["level"] == "warn"]
    assert "service_tier" in warning["message"]
    assert len(warning["message"]) < 200
    many = alice.create_job(training_file=training_file, **{f"field{number}": 1 for number in range(500)})
    (warning,) = [event for event in alice.events(many["id"]) if event["level"] == "warn"]
    assert "and 484 more" in warning["message"]


def test_creation_wakes_a_worker(api: Api, alice: Tenant, training_file: str) -> None:
    with create_celery(api.settings.server("broker_url")).connection_for_read() as connection:
        redis = connection.default_channel.client
        redis.delete(queue_for(1))
        alice.create_job(training_file=training_file)
        message = json.loads(wait_for(lambda: redis.lpop(queue_for(1))))
    assert message["headers"]["task"] == TASK


def test_a_job_on_several_devices_waits_for_the_workers_of_its_class(
    api: Api, alice: Tenant, training_file: str
) -> None:
    with create_celery(api.settings.server("broker_url")).connection_for_read() as connection:
        bells = {devices: connection.SimpleQueue(queue_for(devices)) for devices in (1, 2)}
        for bell in bells.values():
            bell.clear()
        alone = alice.create_job(training_file=training_file)
        training = {"devices": 2, "fsdp": "full_shard"}
        job = alice.create_job(training_file=training_file, training=training)
        for bell in bells.values():
            assert bell.get(timeout=60).headers["task"] == TASK
    assert training.items() <= job["training"].items()
    assert (alone["training"]["devices"], alone["training"]["fsdp"]) == (1, None)


def test_a_job_is_created_while_the_broker_is_down(api: Api, alice: Tenant, training_file: str) -> None:
    with api.beside(broker_url="redis://127.0.0.1:1/0") as lame:
        started = time.monotonic()
        answer = httpx.post(
            lame.url + JOBS,
            json={"model": BASE_MODEL, "training_file": training_file},
            headers={"authorization": f"Bearer {alice.key}"},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        assert time.monotonic() - started < 30
    assert alice.job(answer.json()["id"])["status"] == "queued"


def test_no_success_is_told_before_the_commit(api: Api, alice: Tenant, training_file: str) -> None:
    """A commit that fails becomes an error. An answer that is sent before the commit would say 200."""
    with api.sessions.begin() as session:
        session.execute(text(FAIL_AT_COMMIT))
    try:
        before = api.job_count()
        answer = alice.ask_for_job(training_file=training_file, suffix="fails-at-commit")
        refusal(answer, 500, None, "internal_error")
        assert "at commit" not in answer.text
        assert api.job_count() == before
        committed = alice.ask_for_job(training_file=training_file, suffix="commits").json()["id"]
        with api.sessions() as session:
            assert session.get(Job, committed) is not None
    finally:
        with api.sessions.begin() as session:
            session.execute(text("DROP FUNCTION fail_at_commit CASCADE"))


FAIL_AT_COMMIT = """
CREATE FUNCTION fail_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.suffix = 'fails-at-commit' THEN RAISE EXCEPTION 'refused at commit'; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER fail_at_commit AFTER INSERT ON jobs DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION fail_at_commit();
"""
