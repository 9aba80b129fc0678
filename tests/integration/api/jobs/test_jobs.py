"""/v1/fine_tuning/jobs over real HTTP: creating, reading, paging, cancelling, and wrong requests."""

import base64
import csv
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from sqlalchemy import func, select, text

from api.files import queries as files
from api.jobs.creation.other_names import NAMES
from core.errors import JobError
from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.dispatch import TASK, create_celery, queue_for
from core.jobs.events import record_event
from core.jobs.lifecycle import Progress
from core.methods.registry import METHODS
from core.objectives.registry import OBJECTIVES
from core.tables import File, Job, Metric
from tests.fixtures.service.api import (
    BASE_MODEL,
    LEASE_SECONDS,
    MAX_LENGTH,
    RESULT_TABLE,
    Api,
    Tenant,
    dataset,
    refusal,
    running_api,
    strictly,
    wait_for,
)

JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture(scope="module")
def training_file(alice: Tenant) -> str:
    return alice.upload()


def post(tenant: Tenant, **body: Any) -> httpx.Response:
    return tenant.http.post(JOBS, json={"model": BASE_MODEL, **body})


def events(tenant: Tenant, job_id: str) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = tenant.http.get(f"{JOBS}/{job_id}/events").json()["data"]
    return data


def jobs_in_database(api: Api) -> int:
    with api.sessions() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


# Creating


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


def test_a_job_is_shown_whatever_bounds_its_specification_had(
    api: Api, alice: Tenant, training_file: str
) -> None:
    """Another release may have stored a job with other bounds. It must not break the page that it is on."""
    job_id = alice.create_job(training_file=training_file)["id"]
    stored = {
        "adapter": {"type": "of-a-newer-release", "r": 9999, "new": [1]},
        "hyperparameters": {"n_epochs": 999, "batch_size": 4, "learning_rate_multiplier": 1.0, "beta": 9},
        "training": {"learning_rate": 50.0, "devices": 1, "new": {"a": None}},
    }
    with api.sessions.begin() as session:
        job = session.get_one(Job, job_id)
        job.spec = {**job.spec, **stored, "new": True}
    shown = alice.job(job_id)
    assert {name: shown[name] for name in stored} == stored
    strictly(FineTuningJob, shown)
    assert job_id in [job["id"] for job in alice.http.get(JOBS).json()["data"]]
    for action in ("pause", "resume", "cancel"):
        assert alice.http.post(f"{JOBS}/{job_id}/{action}").json()["adapter"] == stored["adapter"]


def test_hyperparameters_are_taken_from_either_place_but_not_two_minds(
    alice: Tenant, training_file: str
) -> None:
    older = {"hyperparameters": {"n_epochs": 3}}
    newer = {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}}}
    for body in (older, newer, older | newer):
        assert alice.create_job(training_file=training_file, **body)["hyperparameters"]["n_epochs"] == 3
    contradicting = {"hyperparameters": {"n_epochs": 4}} | newer
    refusal(post(alice, training_file=training_file, **contradicting), 400, "hyperparameters")


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
    (warning,) = [event for event in events(alice, job["id"]) if event["level"] == "warn"]
    assert "service_tier" in warning["message"]
    assert len(warning["message"]) < 200
    many = alice.create_job(training_file=training_file, **{f"field{number}": 1 for number in range(500)})
    (warning,) = [event for event in events(alice, many["id"]) if event["level"] == "warn"]
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


def test_a_paused_job_whose_class_is_not_on_offer_any_more_is_not_resumed(
    api: Api, alice: Tenant, training_file: str
) -> None:
    job_id = alice.create_job(training_file=training_file, training={"devices": 2})["id"]
    alice.openai.fine_tuning.jobs.pause(job_id)
    with api.broken(device_classes="1") as smaller:
        tenant = smaller.tenant("alice")
        refusal(tenant.http.post(f"{JOBS}/{job_id}/resume"), 400, "training.devices", "devices_not_available")
    assert alice.job(job_id)["status"] == "paused"


def test_a_retried_resumption_is_answered_though_its_class_is_not_on_offer_any_more(
    api: Api, alice: Tenant, training_file: str
) -> None:
    """The first try queued the job, and its answer was lost."""
    job_id = alice.create_job(training_file=training_file, training={"devices": 2})["id"]
    alice.openai.fine_tuning.jobs.pause(job_id)
    resumed = alice.http.post(f"{JOBS}/{job_id}/resume", headers={"x-stainless-retry-count": "0"})
    with api.broken(device_classes="1") as smaller:
        path = f"{smaller.url}{JOBS}/{job_id}/resume"
        retried = alice.http.post(path, headers={"x-stainless-retry-count": "1"})
    assert (retried.status_code, retried.json()) == (200, resumed.json())


def test_a_pause_is_withdrawn_though_its_class_is_not_on_offer_any_more(
    api: Api, alice: Tenant, training_file: str
) -> None:
    """The job still runs, so it needs no other worker."""
    job_id = alice.create_job(training_file=training_file, training={"devices": 2})["id"]
    lease = api.claim(job_id, devices=2)
    with api.sessions.begin() as session:
        lifecycle.renew(session, lease, Progress("training", 3, 10))
    alice.openai.fine_tuning.jobs.pause(job_id)
    with api.broken(device_classes="1") as smaller:
        answer = alice.http.post(f"{smaller.url}{JOBS}/{job_id}/resume")
    assert answer.is_success, answer.text
    assert answer.json()["progress"]["phase"] == "training"


def test_a_job_is_created_while_the_broker_is_down(api: Api, alice: Tenant, training_file: str) -> None:
    with api.broken(broker_url="redis://127.0.0.1:1/0") as lame:
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
        before = jobs_in_database(api)
        answer = post(alice, training_file=training_file, suffix="fails-at-commit")
        refusal(answer, 500, None, "internal_error")
        assert "at commit" not in answer.text
        assert jobs_in_database(api) == before
        committed = post(alice, training_file=training_file, suffix="commits").json()["id"]
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

# Wrong requests


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"suffix": ""}, "suffix", "1 to 64 characters"),
        ({"suffix": "x" * 65}, "suffix", "1 to 64 characters"),
        ({"suffix": "a:b"}, "suffix", "matches"),
        ({"seed": -1}, "seed", "from 0 to 2147483647"),
        ({"seed": 2**31}, "seed", "from 0 to 2147483647"),
        ({"seed": "x"}, "seed", "an integer"),
        ({"metadata": {f"k{number}": "" for number in range(17)}}, "metadata", "at most 16 pairs"),
        ({"metadata": {"k" * 65: ""}}, "metadata", "at most 64 characters"),
        ({"metadata": {"k": "v" * 513}}, "metadata", "at most 512 characters"),
        ({"metadata": {"k": 1}}, "metadata", "each value a string"),
        ({"metadata": []}, "metadata", "an object"),
        (
            {"hyperparameters": {"n_epochs": 0}},
            "hyperparameters.n_epochs",
            '"auto" or an integer from 1 to 50',
        ),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", "from 1 to 50"),
        ({"hyperparameters": {"n_epochs": "ten"}}, "hyperparameters.n_epochs", "from 1 to 50"),
        ({"hyperparameters": {"n_epochs": 1.5}}, "hyperparameters.n_epochs", "an integer"),
        ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size", "from 1 to 256"),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0}},
            "hyperparameters.learning_rate_multiplier",
            "greater than 0 and of at most 1000",
        ),
        (
            {"hyperparameters": {"passes": 3}},
            "hyperparameters.passes",
            "takes n_epochs, batch_size and learning_rate_multiplier",
        ),
        ({"hyperparameters": []}, "hyperparameters", "an object"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 99}}}},
            "method.supervised.hyperparameters.n_epochs",
            "from 1 to 50",
        ),
        ({"method": {"type": "supervised", "supervised": {"beta": 1}}}, "method.supervised.beta", "Unknown"),
        (
            {"method": {"type": "reinforcement"}},
            "method.type",
            "not on offer yet. On offer: 'supervised', 'dpo'",
        ),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 3}}}},
            "method.dpo.hyperparameters.beta",
            "2",
        ),
        ({"method": {"type": "magic"}}, "method.type", "On offer"),
        ({"method": {}}, "method.type", "Missing required parameter"),
        (
            {"method": {"type": "supervised", "hyperparameters": {"n_epochs": 1}}},
            "method.hyperparameters",
            "Unknown parameter: 'method.hyperparameters'. 'method' takes type, supervised",
        ),
        (
            {"method": {"type": "supervised", "supervized": {"hyperparameters": {"n_epochs": 1}}}},
            "method.supervized",
            "Unknown parameter",
        ),
        ({"method": {"type": "supervised", "dpo": {"beta": 1}}}, "method.dpo.beta", "Unknown"),
        ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo", "leave it out"),
        (
            {"integrations": [{"type": "wandb", "wandb": {"project": ""}}]},
            "integrations.0.wandb.project",
            "a string of 1 to 128 characters",
        ),
        ({"adapter": {"r": 0}}, "adapter.r", "an integer from 1 to 256"),
        ({"adapter": {"r": 257}}, "adapter.r", "257. It must be an integer from 1 to 256"),
        ({"adapter": {"r": None}}, "adapter.r", "null"),
        ({"adapter": {"ranks": 8}}, "adapter.ranks", "'adapter' takes type, target_modules"),
        ({"adapter": {"rank": 8}}, "adapter.rank", "Set 'adapter.r' instead"),
        ({"adapter": {"type": "qlora"}}, "adapter.type", "'training.quantization' to \"nf4\""),
        ({"adapter": {"type": "LoRA-4bit"}}, "adapter.type", "'training.quantization' to \"nf4\""),
        ({"adapter": "qlora"}, "adapter", "'training.quantization' to \"nf4\""),
        ({"adapter": {"type": "full_finetune"}}, "adapter.type", 'the adapter "full"'),
        ({"adapter": {"type": "dora"}}, "adapter.type", "'adapter.use_dora' to true"),
        ({"adapter": {"type": "sft"}}, "adapter.type", "'method.type' to \"supervised\""),
        ({"method": {"type": "sft"}}, "method.type", 'called "supervised" here'),
        ({"method": {"type": "qlora"}}, "method.type", "'training.quantization' to \"nf4\""),
        ({"method": {"type": "lora"}}, "method.type", "'adapter.type' to \"lora\""),
        ({"method": {"type": "grpo"}}, "method.type", "Reinforcement learning is not on offer"),
        ({"training": {"quantization": "4bit"}}, "training.quantization", 'called "nf4" here'),
        ({"training": {"load_in_4bit": True}}, "training.load_in_4bit", 'to "nf4" instead'),
        ({"training": {"num_train_epochs": 3}}, "training.num_train_epochs", "hyperparameters.n_epochs"),
        ({"hyperparameters": {"lr": 1}}, "hyperparameters.lr", "Set 'training.learning_rate' instead"),
        ({"adapter": {"type": "vera", "vera_dropout": 0.1}}, "adapter.vera_dropout", "equal to 0"),
        (
            {"adapter": {"type": "vera", "save_projection": False}},
            "adapter.save_projection",
            "On offer: true",
        ),
        (
            {"adapter": {"use_dora": True, "init_lora_weights": "pissa"}},
            "adapter.use_dora",
            "does not go with the other options",
        ),
        ({"adapter": {"init_lora_weights": "mica"}}, "adapter.init_lora_weights", '"pissa"'),
        ({"adapter": {"eva_config": {"rho": 2.0}}}, "adapter.eva_config", "init_lora_weights 'eva'"),
        (
            {"adapter": {"init_lora_weights": "eva", "eva_config": {"rho": 0.5}}},
            "adapter.eva_config.rho",
            "from 1 to 16",
        ),
        ({"adapter": {"rank_pattern": {"q_proj": 0}}}, "adapter.rank_pattern.q_proj", "from 1 to"),
        ({"adapter": {"exclude_modules": ["q_proj"]}}, "adapter.exclude_modules", "must be null"),
        ({"adapter": []}, "adapter", "an object"),
        ({"adapter": {"target_modules": []}}, "adapter.target_modules", "a list of at least 1 item"),
        ({"adapter": {"type": "poly"}}, "adapter.type", '"adalora"'),
        ({"adapter": {"type": "ia3", "feedforward_modules": []}}, "adapter.feedforward_modules", "1 item"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate", "greater than 0 and of at most 1"),
        ({"training": {"warmup_ratio": 1.1}}, "training.warmup_ratio", "from 0 to 1"),
        ({"training": {"lr_scheduler_type": "zigzag"}}, "training.lr_scheduler_type", '"cosine", "linear"'),
        ({"training": {"loraplus_lr_ratio": 0.5}}, "training.loraplus_lr_ratio", "from 1 to 1000"),
        ({"training": {"early_stopping_patience": 0}}, "training.early_stopping_patience", "from 1 to 1000"),
        (
            {"training": {"early_stopping_patience": 3}},
            "training.early_stopping_patience",
            "name a validation_file or a validation_split too",
        ),
        (
            {"training": {"load_best_model_at_end": True}},
            "training.load_best_model_at_end",
            "name a validation_file or a validation_split too",
        ),
        (
            {"training": {"eval_samples": 2}},
            "training.eval_samples",
            "name a validation_file or a validation_split too",
        ),
        ({"training": {"deterministic": "maybe"}}, "training.deterministic", "true or false"),
        ({"training": {"eval_samples": 17}}, "training.eval_samples", "from 0 to 16"),
        ({"training": {"eval_max_new_tokens": 0}}, "training.eval_max_new_tokens", "from 1 to 512"),
        (
            {"training": {"devices": 2, "fsdp": "full_shard", "eval_samples": 2}},
            "training.fsdp",
            "'training.eval_samples' asks for them",
        ),
        (
            {"training": {"early_stopping_threshold": 0.1}},
            "training.early_stopping_threshold",
            "means nothing without 'training.early_stopping_patience'",
        ),
        ({"training": {"epochs": 1}}, "training.epochs", "Unknown parameter"),
        ({"training": {"max_length": 7}}, "training.max_length", "of at least 8"),
        ({"training": {"max_length": MAX_LENGTH + 1}}, "training.max_length", f"{MAX_LENGTH} tokens at most"),
        ({"training": {"devices": 0}}, "training.devices", "from 1 to 64"),
        ({"training": {"devices": 3}}, "training.devices", "trains on 3 devices. On offer: 1, 2"),
        ({"training": {"fsdp": "full_shard"}}, "training.fsdp", "'training.devices' must be above 1"),
        ({"training": {"devices": 2, "fsdp": "hybrid_shard"}}, "training.fsdp", '"full_shard"'),
        ({"model": "gpt-4o-mini"}, "model", f"On offer: {BASE_MODEL}, small-model"),
        ({"model": None}, "model", "a string"),
        ({"model": ["x"]}, "model", "a list. It must be a string"),
        ({"model": []}, "model", "an empty list. It must be a string"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else None,
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(
    api: Api, alice: Tenant, training_file: str, body: dict[str, Any], param: str, says: str
) -> None:
    before = jobs_in_database(api)
    error = refusal(post(alice, **{"training_file": training_file, **body}), 400, param)
    assert error["type"] == "invalid_request_error"
    assert says in error["message"]
    assert len(error["message"]) < 500
    assert jobs_in_database(api) == before


def test_a_hint_leads_to_names_that_exist(alice: Tenant) -> None:
    """Each 'place' and "value" of a hint is one that a request may have."""
    schemas = alice.http.get("/openapi.json").json()["components"]["schemas"]
    create, training = schemas["CreateJob"]["properties"], schemas["TrainingOptions"]["properties"]
    known = {*create, *(f"training.{name}" for name in training), "method.type", "adapter.type"}
    known |= {f"adapter.{name}" for name in schemas["LoraAdapter"]["properties"]}
    known |= {f"hyperparameters.{name}" for name in schemas["RequestedHyperparameters"]["properties"]}
    offered = {*METHODS, *OBJECTIVES, "nf4", "int8", "none", "pissa", "olora", "eva", "corda", "loftq"}
    for hints in NAMES.values():
        for hint in hints.values():
            assert set(re.findall(r"'([^']+)'", hint)) <= known, hint
            assert set(re.findall(r'"([^"]+)"', hint)) <= offered, hint


def test_all_wrong_parameters_are_named_the_first_with_what_is_allowed(alice: Tenant) -> None:
    body = {"suffix": "a:b", "seed": -1, "hyperparameters": {"n_epochs": 0, "epochs": 3}}
    error = refusal(alice.http.post(JOBS, json={"model": BASE_MODEL, **body}), 400, "training_file")
    assert error["message"] == (
        "Missing required parameter: 'training_file'. Also wrong: 'suffix', 'seed', "
        "'hyperparameters.n_epochs' and 'hyperparameters.epochs'."
    )


def test_a_great_many_wrong_parameters_make_a_short_answer(alice: Tenant, training_file: str) -> None:
    unknown = {f"field{number}": 1 for number in range(10_000)}
    error = refusal(
        post(alice, training_file=training_file, adapter=unknown), 400, "adapter.field0", "unknown_parameter"
    )
    assert "'adapter.field8' and at least 91 more" in error["message"]
    assert len(error["message"]) < 500


@pytest.mark.parametrize("missing", ["model", "training_file"])
def test_a_missing_parameter_is_named(alice: Tenant, training_file: str, missing: str) -> None:
    body = {"model": BASE_MODEL, "training_file": training_file}
    del body[missing]
    refusal(alice.http.post(JOBS, json=body), 400, missing, "missing_required_parameter")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "must be a JSON object"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"model": ', "not valid JSON"),
        (b'{"model": "a", "model": "b"}', "'model' stands twice"),
        (b'{"training": {"learning_rate": NaN}}', "NaN is not a JSON number"),
        (b'{"training": {"max_grad_norm": 1e999}}', "1e999 is too large a number"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"suffix": "\\u0000"}', "unpaired surrogate"),
        (b'{"metadata": {"k": "\\ud800"}}', "unpaired surrogate"),
        (b'{"metadata": {"\\u0000": "v"}}', "unpaired surrogate"),
        (b'{"suffix": "\xff"}', "Not UTF-8"),
        (b'{"x": ' + b"[" * 100 + b"]" * 100 + b"}", "Nested more than 32 levels deep"),
        (b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "ested"),
    ],
)
def test_a_body_that_is_not_plain_json_is_refused(alice: Tenant, body: bytes, says: str) -> None:
    answer = alice.http.post(JOBS, content=body, headers={"content-type": "application/json"})
    error = refusal(answer, 400, None, "invalid_json")
    assert says in error["message"]


def test_a_body_that_does_not_say_it_is_json_is_refused(alice: Tenant, training_file: str) -> None:
    body = json.dumps({"model": BASE_MODEL, "training_file": training_file})
    answer = alice.http.post(JOBS, content=body, headers={"content-type": "text/plain"})
    assert "application/json" in refusal(answer, 400, None, "invalid_json")["message"]


def test_a_huge_body_is_refused(alice: Tenant) -> None:
    answer = alice.http.post(JOBS, json={"model": "x" * 2 * 1024**2})
    refusal(answer, 413, None, "request_too_large")


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_file_that_cannot_be_used_is_told_alike_whoever_owns_it(
    alice: Tenant, bob: Tenant, training_file: str, param: str
) -> None:
    deleted = alice.upload()
    alice.openai.files.delete(deleted)
    foreign = bob.upload()
    told = set()
    for file_id in ("file-" + "0" * 32, "no id at all", deleted, foreign):
        answer = post(alice, **{"training_file": training_file, param: file_id})
        error = refusal(answer, 400, param, "invalid_file_id")
        told.add(error["message"].replace(file_id, "<id>"))
    assert told == {"No such File object: <id>"}


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_file_of_another_purpose_is_refused(alice: Tenant, training_file: str, param: str) -> None:
    other = alice.upload(purpose="batch")
    error = refusal(
        post(alice, **{"training_file": training_file, param: other}), 400, param, "invalid_file_purpose"
    )
    assert "'batch'" in error["message"]


@pytest.mark.parametrize(("rows", "says"), [(9, "9 rows"), (1, "1 row;")])
def test_a_training_file_needs_ten_rows(alice: Tenant, rows: int, says: str) -> None:
    few = alice.upload(dataset(rows))
    error = refusal(post(alice, training_file=few), 400, "training_file", "invalid_n_examples")
    assert says in error["message"]
    assert "at least 10" in error["message"]
    alice.create_job(validation_file=few)


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_file_with_more_rows_than_the_server_takes_is_refused(api: Api, alice: Tenant, param: str) -> None:
    limits = {"max_training_rows": 12, "max_validation_rows": 12}
    too_many, allowed = alice.upload(dataset(13)), alice.upload(dataset(12))
    body = {"model": BASE_MODEL, "training_file": allowed, "validation_file": allowed}
    with running_api(api.settings.model_copy(update=limits), api.sessions) as strict:
        jobs = f"{strict.url}/v1/fine_tuning/jobs"
        error = refusal(
            alice.http.post(jobs, json={**body, param: too_many}), 400, param, "invalid_n_examples"
        )
        assert "13 rows" in error["message"]
        assert "at most 12" in error["message"]
        assert alice.http.post(jobs, json=body).status_code == 200


def test_the_official_client_raises_its_own_errors(alice: Tenant, training_file: str) -> None:
    jobs = alice.openai.fine_tuning.jobs
    with pytest.raises(openai.BadRequestError) as refused:
        jobs.create(model="gpt-4o-mini", training_file=training_file)
    assert (refused.value.param, refused.value.code) == ("model", "model_not_available")
    with pytest.raises(openai.NotFoundError) as missing:
        jobs.retrieve("ftjob-unheard-of")
    assert missing.value.code == "fine_tune_not_found"
    with pytest.raises(openai.NotFoundError):
        jobs.cancel("ftjob-unheard-of")


def test_no_job_is_made_of_a_file_that_is_being_deleted(api: Api, alice: Tenant) -> None:
    file_id = alice.upload()
    with api.sessions() as deleting:
        deleting.get_one(File, file_id, with_for_update=True).deleted_at = func.now()
        deleting.flush()
        answer = in_thread(lambda: post(alice, training_file=file_id))
        wait_until_somebody_waits(api)
        deleting.commit()
    refusal(answer(), 400, "training_file", "invalid_file_id")


def test_no_file_is_deleted_under_a_job_that_is_being_made(api: Api, alice: Tenant) -> None:
    file_id, example = alice.upload(), alice.create_job()["id"]
    with api.sessions() as making:
        files.find_for_job(making, alice.project_id, file_id)
        answer = in_thread(lambda: alice.http.delete(f"/v1/files/{file_id}"))
        wait_until_somebody_waits(api)
        like = making.get_one(Job, example)
        job = Job(
            id=new_id("ftjob-"),
            project_id=like.project_id,
            base_model=like.base_model,
            training_file_id=file_id,
            spec=like.spec,
        )
        lifecycle.submit(making, job)
        making.commit()
    refusal(answer(), 409, "id", "file_in_use")
    assert alice.http.get(f"/v1/files/{file_id}/content").is_success


def in_thread(ask: Callable[[], httpx.Response]) -> Callable[[], httpx.Response]:
    return ThreadPoolExecutor(1).submit(ask).result


def wait_until_somebody_waits(api: Api) -> None:
    """Wait until a transaction of this database waits for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with api.sessions() as session:
        wait_for(lambda: session.scalar(waiting))


# Reading


def test_a_job_tells_its_place_in_the_order_of_the_claims(api: Api) -> None:
    """Claims are fair between projects, oldest job first. Jobs on more devices wait in another queue."""
    busy, idle = api.tenant(), api.tenant()
    with api.sessions.begin() as session:
        for job in session.scalars(select(Job).where(Job.status.in_(["queued", "running"]))):
            lifecycle.cancel(session, job)
    api.claim(busy.create_job()["id"])
    on_two = busy.create_job()["id"]
    with api.sessions.begin() as session:
        session.get_one(Job, on_two).devices = 2
    waiting = [(busy, busy.create_job()) for _ in range(2)]
    waiting += [(idle, idle.create_job()), (busy, busy.create_job(model="small-model"))]
    waiting += [(idle, idle.create_job()) for _ in range(2)]

    def tells(tenant: Tenant, job_id: str) -> int | None:
        return tenant.job(job_id)["progress"]["queue_position"]

    last, job = waiting[-1]
    wait_for(lambda: tells(last, job["id"]) is not None)
    told = {tells(tenant, job["id"]): job["id"] for tenant, job in waiting}
    listed = {job["id"]: job["progress"]["queue_position"] for job in idle.http.get(JOBS).json()["data"]}

    with api.sessions.begin() as session:
        leases = [lifecycle.claim(session, "a test", LEASE_SECONDS) for _ in waiting]
    claimed = [lease.job_id for lease in leases if lease]
    assert [told[place] for place in range(1, 7)] == claimed
    assert tells(busy, on_two) == 1
    assert listed == {job_id: place for place, job_id in told.items() if job_id in listed}
    assert tells(idle, claimed[0]) is None


def test_a_waiting_job_has_made_no_step(alice: Tenant) -> None:
    progress = alice.create_job()["progress"]
    assert (progress["phase"], progress["step"], progress["percent"]) == ("queued", 0, None)


def test_a_running_job_tells_its_progress(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    lease = api.claim(job_id)
    progress = Progress(
        "training",
        step=5,
        total_steps=20,
        epoch=0.5,
        tokens_per_second=99.5,
        trained_tokens=640,
        seconds_left=100,
        best_valid_loss=1.25,
        best_step=4,
    )
    with api.sessions.begin() as session:
        lifecycle.renew(session, lease, progress)

    shown = alice.job(job_id)

    strictly(FineTuningJob, shown)
    assert shown["status"] == "running"
    assert shown["progress"] == {
        "step": 5,
        "total_steps": 20,
        "epoch": 0.5,
        "tokens_per_second": 99.5,
        "percent": 25.0,
        "phase": "training",
        "queue_position": None,
        "best_valid_loss": 1.25,
        "best_step": 4,
    }
    assert (shown["trained_tokens"], shown["result_files"]) == (640, [])
    assert lease.seconds == LEASE_SECONDS
    assert shown["estimated_finish"] == pytest.approx(time.time() + 100, abs=30)


def test_a_job_given_back_keeps_its_progress_and_expects_nothing(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    lease = api.claim(job_id)
    with api.sessions.begin() as session:
        lifecycle.renew(session, lease, Progress("training", step=5, total_steps=20, seconds_left=100))
        lifecycle.release(session, lease, "The worker shuts down")

    shown = alice.job(job_id)

    assert (shown["status"], shown["progress"]["phase"], shown["progress"]["step"]) == ("queued", "queued", 5)
    assert shown["estimated_finish"] is None
    wait_for(lambda: (alice.job(job_id)["progress"]["queue_position"] or 0) >= 1)


def test_a_succeeded_job_names_what_it_made(api: Api, alice: Tenant, adapter_folder: Path) -> None:
    job_id = alice.create_job(suffix="done")["id"]
    adapter_id = api.finish(api.claim(job_id), adapter_folder)

    shown = alice.job(job_id)

    strictly(FineTuningJob, shown)
    assert shown["status"] == "succeeded"
    assert shown["fine_tuned_model"] == f"ft:{BASE_MODEL}:alice:done:{job_id[-12:]}"
    assert (shown["adapter_id"], shown["trained_tokens"]) == (adapter_id, 1234)
    assert shown["finished_at"] >= shown["created_at"]
    assert alice.openai.files.retrieve(shown["result_files"][0]).purpose == "fine-tune-results"


def test_the_table_of_results_is_read_as_openais_users_read_it(
    api: Api, alice: Tenant, adapter_folder: Path
) -> None:
    job_id = alice.create_job()["id"]
    api.finish(api.claim(job_id), adapter_folder)
    table = alice.job(job_id)["result_files"][0]
    read = alice.openai.files.content

    assert base64.b64decode(read(table).text) == RESULT_TABLE
    assert base64.b64decode(read(table).read(), validate=True) == RESULT_TABLE
    plain = {"Accept": "text/csv"}
    assert next(csv.DictReader(read(table, extra_headers=plain).text.splitlines()))["step"] == "1"
    assert alice.http.get(f"/v1/files/{table}/content").content == RESULT_TABLE
    part = {"Accept": "text/csv", "Range": "bytes=0-3"}
    assert alice.http.get(f"/v1/files/{table}/content", headers=part).content == RESULT_TABLE[:4]


def test_a_failed_job_tells_why(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    lease = api.claim(job_id)
    error = JobError("out_of_memory", "Row 3 is too long", "training_file")
    with api.sessions.begin() as session:
        lifecycle.fail(session, lease, error)

    job = strictly(FineTuningJob, alice.job(job_id))

    assert job.status == "failed"
    assert job.error is not None
    assert (job.error.code, job.error.message, job.error.param) == (
        "out_of_memory",
        "Row 3 is too long",
        "training_file",
    )


def test_paging_reaches_every_job_once_newest_first(api: Api) -> None:
    tenant = api.tenant()
    training_file = tenant.upload()
    made = [tenant.create_job(training_file=training_file)["id"] for _ in range(5)]

    assert [job.id for job in tenant.openai.fine_tuning.jobs.list(limit=2)] == made[::-1]
    page = tenant.http.get(JOBS, params={"limit": 2}).json()
    assert (page["object"], page["has_more"], page["last_id"]) == ("list", True, made[3])
    assert tenant.http.get(JOBS, params={"limit": 0}).json()["data"] == []
    assert tenant.http.get(JOBS, params={"after": made[0]}).json()["data"] == []


def test_jobs_are_found_by_their_metadata(api: Api) -> None:
    tenant = api.tenant()
    training_file = tenant.upload()
    red, blue, none = (
        tenant.create_job(training_file=training_file, metadata=metadata)["id"]
        for metadata in ({"team": "red", "x": ""}, {"team": "blue"}, None)
    )
    jobs = tenant.openai.fine_tuning.jobs

    assert [job.id for job in jobs.list(metadata={"team": "red"})] == [red]
    assert [job.id for job in jobs.list(metadata={"team": "red", "x": ""})] == [red]
    assert [job.id for job in jobs.list(metadata={"team": "green"})] == []
    for spelt in ("metadata=null", "metadata="):  # as Python's client sends it, and Node's
        assert [job["id"] for job in tenant.http.get(f"{JOBS}?{spelt}").json()["data"]] == [none]
    assert [job.id for job in jobs.list()] == [none, blue, red]
    refusal(tenant.http.get(f"{JOBS}?metadata=null&metadata[team]=red"), 400, "metadata")
    refusal(tenant.http.get(f"{JOBS}?metadata=red"), 400, "metadata")


def test_jobs_are_found_by_the_file_that_they_read(api: Api, bob: Tenant) -> None:
    tenant = api.tenant()
    file, other = tenant.upload(), tenant.upload()
    trains = tenant.create_job(training_file=file)["id"]
    tenant.create_job(training_file=other)
    validates = tenant.create_job(training_file=other, validation_file=file)["id"]
    found = tenant.http.get(JOBS, params={"file": file}).json()
    assert [job["id"] for job in found["data"]] == [validates, trains]
    assert bob.http.get(JOBS, params={"file": file}).json()["data"] == []


@pytest.mark.parametrize("part", ["", "/events", "/checkpoints"])
@pytest.mark.parametrize(
    ("query", "param", "says"),
    [
        ("limit=-1", "limit", "from 0 to 1000"),
        ("limit=1001", "limit", "from 0 to 1000"),
        ("limit=x", "limit", "an integer"),
        ("after=unheard-of", "after", "Send the 'last_id' of the page before"),
    ],
)
def test_a_wrong_page_is_refused_with_what_is_allowed(
    alice: Tenant, training_file: str, part: str, query: str, param: str, says: str
) -> None:
    base = JOBS
    if part:
        base += "/" + alice.create_job(training_file=training_file)["id"] + part
    assert says in refusal(alice.http.get(f"{base}?{query}"), 400, param)["message"]


def test_events_come_newest_first_and_page_to_the_end(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    with api.sessions.begin() as session:
        for step in range(5):
            record_event(
                session, job_id, f"Step {step}", type="metrics", data={"step": step, "train_loss": 0.5}
            )

    paged = [event.message for event in alice.openai.fine_tuning.jobs.list_events(job_id, limit=2)]

    assert paged[:5] == [f"Step {step}" for step in (4, 3, 2, 1, 0)]
    assert paged[5:] == [
        "Files validated, moving job to queued state",
        f"Created fine-tuning job: {job_id}",
    ]
    for shown in events(alice, job_id):
        strictly(FineTuningJobEvent, shown)
    assert events(alice, job_id)[0]["data"] == {"step": 4, "train_loss": 0.5}
    assert events(alice, job_id)[0]["type"] == "metrics"
    page = alice.http.get(f"{JOBS}/{job_id}/events", params={"limit": 0}).json()
    assert (page["data"], page["has_more"]) == ([], True)


def test_checkpoints_at_the_ends_of_epochs_and_the_best_come_newest_first(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job(suffix="ck")["id"]
    lease = api.claim(job_id)
    for step in (3, 6, 9):
        api.checkpoint(lease, step, train_loss=1.5, valid_loss=2)
    api.checkpoint(lease, 7, ends_epoch=False)
    api.checkpoint(lease, 8, ends_epoch=False, best=True, train_loss=1.5, valid_loss=2)

    found = list(alice.openai.fine_tuning.jobs.checkpoints.list(job_id, limit=2))

    assert [checkpoint.step_number for checkpoint in found] == [9, 8, 6, 3]
    assert [checkpoint.model_extra["best"] for checkpoint in found] == [False, True, False, False]
    for shown in alice.http.get(f"{JOBS}/{job_id}/checkpoints").json()["data"]:
        strict = strictly(FineTuningJobCheckpoint, shown)
        assert strict.fine_tuning_job_id == job_id
        assert strict.metrics.train_loss == 1.5
        assert strict.metrics.step == strict.step_number
        name = f"ft:{BASE_MODEL}:alice:ck:{job_id[-12:]}:ckpt-step-{strict.step_number}"
        assert strict.fine_tuned_model_checkpoint == name


def test_metrics_continue_after_a_step(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    with api.sessions.begin() as session:
        session.add_all(
            Metric(job_id=job_id, step=step, data={"train_loss": 1 / step, "valid_loss": None})
            for step in range(1, 6)
        )
    url = f"{JOBS}/{job_id}/metrics"

    whole = alice.http.get(url).json()
    assert [point["step"] for point in whole["data"]] == [1, 2, 3, 4, 5]
    untold = dict.fromkeys(("trained_seconds", "trained_tokens", "trainer_memory_bytes"))
    assert whole["data"][1] == {"step": 2, "train_loss": 0.5, "valid_loss": None, **untold}
    assert whole["has_more"] is False
    later = alice.http.get(url, params={"after_step": 2, "limit": 2}).json()
    assert ([point["step"] for point in later["data"]], later["has_more"]) == ([3, 4], True)
    assert alice.http.get(url, params={"after_step": 5}).json()["data"] == []
    refusal(alice.http.get(url, params={"after_step": 10**30}), 400, "after_step")


@pytest.mark.parametrize("running", [False, True])
def test_a_job_is_cancelled_at_once_and_only_once(api: Api, alice: Tenant, running: bool) -> None:
    job_id = alice.create_job()["id"]
    if running:
        api.claim(job_id)

    cancelled = alice.http.post(f"{JOBS}/{job_id}/cancel").json()

    assert strictly(FineTuningJob, cancelled).status == "cancelled"
    assert cancelled["finished_at"] is not None
    assert cancelled["progress"]["queue_position"] is None
    assert alice.job(job_id) == cancelled
    refusal(alice.http.post(f"{JOBS}/{job_id}/cancel"), 400, None, "job_not_cancellable")
    assert [event["message"] for event in events(alice, job_id)].count("The job was cancelled") == 1


def test_a_pause_and_a_resumption_whose_answers_were_lost_may_be_repeated(alice: Tenant) -> None:
    path = f"{JOBS}/{alice.create_job()['id']}"
    for verb, status in (("pause", "paused"), ("resume", "queued")):
        first, repeated = (
            alice.http.post(f"{path}/{verb}", headers={"x-stainless-retry-count": retries})
            for retries in "01"
        )
        assert (repeated.status_code, repeated.json()) == (200, first.json())
        assert alice.http.get(path).json()["status"] == status
    refusal(alice.http.post(f"{path}/resume"), 400, code="job_not_resumable")


def test_a_retried_pause_and_resumption_after_earlier_ones_take_effect(alice: Tenant) -> None:
    """Their first tries were refused, for example because the server was busy."""
    path = f"{JOBS}/{alice.create_job()['id']}"
    for retries in "01":
        for verb, status in (("pause", "paused"), ("resume", "queued")):
            answer = alice.http.post(f"{path}/{verb}", headers={"x-stainless-retry-count": retries})
            assert answer.is_success
            assert alice.http.get(path).json()["status"] == status


@pytest.mark.parametrize("steps", [None, 0, 3])
def test_the_official_client_pauses_and_resumes_a_job(
    api: Api, alice: Tenant, adapter_folder: Path, steps: int | None
) -> None:
    """The job is queued, claimed without a step, or training."""
    jobs = alice.openai.fine_tuning.jobs
    job_id = alice.create_job()["id"]
    lease = None if steps is None else api.claim(job_id)
    if lease and steps:
        with api.sessions.begin() as session:
            lifecycle.renew(session, lease, Progress("training", steps, 10))

    paused = jobs.pause(job_id)

    if lease and steps:
        assert (paused.status, alice.job(job_id)["progress"]["phase"]) == ("running", "pausing")
        with api.sessions.begin() as session:
            assert lifecycle.finish_pause(session, lease)
        paused = jobs.retrieve(job_id)
    assert paused.status == "paused"  # type: ignore[comparison-overlap]  # OpenAI's type lacks it
    shown = alice.job(job_id)
    assert (shown["progress"]["phase"], shown["progress"]["step"]) == ("paused", steps or 0)
    assert (shown["finished_at"], shown["estimated_finish"]) == (None, None)
    refusal(alice.http.post(f"{JOBS}/{job_id}/pause"), 400, None, "job_not_pausable")

    assert jobs.resume(job_id).status == "queued"
    refusal(alice.http.post(f"{JOBS}/{job_id}/resume"), 400, None, "job_not_resumable")


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_job_of_another_project_cannot_be_paused_or_resumed(alice: Tenant, bob: Tenant, verb: str) -> None:
    job_id = alice.create_job()["id"]
    if verb == "resume":
        alice.openai.fine_tuning.jobs.pause(job_id)
    refusal(bob.http.post(f"{JOBS}/{job_id}/{verb}"), 404, "fine_tuning_job_id", "fine_tune_not_found")
    assert alice.job(job_id)["status"] == ("paused" if verb == "resume" else "queued")


def test_resuming_wakes_a_worker(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    alice.openai.fine_tuning.jobs.pause(job_id)
    with create_celery(api.settings.server("broker_url")).connection_for_read() as connection:
        bell = connection.SimpleQueue(queue_for(1))
        bell.clear()
        alice.openai.fine_tuning.jobs.resume(job_id)
        assert bell.get(timeout=60).headers["task"] == TASK
