"""Wrong requests for jobs: each is refused with the place of the mistake and what is allowed there."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import func, text

from api.files import queries as files
from api.jobs.creation.other_names import NAMES
from core.ids import new_id
from core.jobs import lifecycle
from core.methods.registry import METHODS
from core.objectives.policy_losses import NAMES as POLICY_LOSSES
from core.objectives.registry import OBJECTIVES
from core.tables import File, Job
from tests.fixtures.service.api import BASE_MODEL, MAX_LENGTH, Api, Tenant, dataset, refusal, wait_for

JOBS = "/v1/fine_tuning/jobs"


def at(path: str, value: Any) -> dict[str, Any]:
    """Return the body of a request that has this value at the place `path`, such as `adapter.r`."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


@pytest.mark.parametrize(
    ("param", "value", "says"),
    [
        ("suffix", "", "1 to 64 characters"),
        ("suffix", "x" * 65, "1 to 64 characters"),
        ("suffix", "a:b", "matches"),
        ("seed", -1, "from 0 to 2147483647"),
        ("seed", 2**31, "from 0 to 2147483647"),
        ("seed", "x", "an integer"),
        ("metadata", {f"k{number}": "" for number in range(17)}, "at most 16 pairs"),
        ("metadata", {"k" * 65: ""}, "at most 64 characters"),
        ("metadata", {"k": "v" * 513}, "at most 512 characters"),
        ("metadata", {"k": 1}, "each value a string"),
        ("metadata", [], "an object"),
        ("hyperparameters.n_epochs", 0, '"auto" or an integer from 1 to 50'),
        ("hyperparameters.n_epochs", 51, "from 1 to 50"),
        ("hyperparameters.n_epochs", "ten", "from 1 to 50"),
        ("hyperparameters.n_epochs", 1.5, "an integer"),
        ("hyperparameters.batch_size", 257, "from 1 to 256"),
        ("hyperparameters.learning_rate_multiplier", 0, "greater than 0 and of at most 1000"),
        ("hyperparameters.passes", 3, "takes n_epochs, batch_size and learning_rate_multiplier"),
        ("hyperparameters", [], "an object"),
        ("method.type", "magic", "On offer"),
        ("adapter.r", 0, "an integer from 1 to 256"),
        ("adapter.r", 257, "257. It must be an integer from 1 to 256"),
        ("adapter.r", None, "null"),
        ("adapter.ranks", 8, "'adapter' takes type, target_modules"),
        ("adapter.rank", 8, "Set 'adapter.r' instead"),
        ("adapter.type", "qlora", "'training.quantization' to \"nf4\""),
        ("adapter.type", "LoRA-4bit", "'training.quantization' to \"nf4\""),
        ("adapter", "qlora", "'training.quantization' to \"nf4\""),
        ("adapter.type", "full_finetune", 'the adapter "full"'),
        ("adapter.type", "dora", "'adapter.use_dora' to true"),
        ("adapter.type", "sft", "'method.type' to \"supervised\""),
        ("method.type", "sft", 'called "supervised" here'),
        ("method.type", "qlora", "'training.quantization' to \"nf4\""),
        ("method.type", "lora", "'adapter.type' to \"lora\""),
        ("method.type", "rft", 'called "reinforcement" here'),
        ("method.type", "grpo", "'method.reinforcement.hyperparameters.loss_type' to \"grpo\""),
        ("training.quantization", "4bit", 'called "nf4" here'),
        ("training.load_in_4bit", True, 'to "nf4" instead'),
        ("training.num_train_epochs", 3, "hyperparameters.n_epochs"),
        ("hyperparameters.lr", 1, "Set 'training.learning_rate' instead"),
        ("adapter.init_lora_weights", "mica", '"pissa"'),
        ("adapter.eva_config", {"rho": 2.0}, "init_lora_weights 'eva'"),
        ("adapter.rank_pattern.q_proj", 0, "from 1 to"),
        ("adapter.exclude_modules", ["q_proj"], "must be null"),
        ("adapter.layers_to_transform", [1], "target_modules that name the modules"),
        ("adapter.layers_pattern", ["layers"], "an option of layers_to_transform"),
        ("adapter.alora_invocation_tokens", [], "a list of 1 to 256 items"),
        ("adapter.type", "alora", "'adapter.alora_invocation_tokens' to the tokens"),
        ("adapter.lora_ga_config", {"scale": "unit"}, "init_lora_weights 'lora_ga'"),
        ("adapter.ensure_weight_tying", True, "an option of modules_to_save"),
        ("adapter", [], "an object"),
        ("adapter.target_modules", [], "nothing is named here, and nothing in target_parameters"),
        ("adapter.target_parameters", "down_proj", "a list"),
        ("adapter.type", "poly", '"adalora"'),
        ("training.learning_rate", 0, "greater than 0 and of at most 1"),
        ("training.warmup_ratio", 1.1, "from 0 to 1"),
        ("training.lr_scheduler_type", "zigzag", '"cosine", "linear"'),
        ("training.loraplus_lr_ratio", 0.5, "from 1 to 1000"),
        ("training.early_stopping_patience", 0, "from 1 to 1000"),
        ("training.early_stopping_patience", 3, "name a validation_file or a validation_split too"),
        ("training.load_best_model_at_end", True, "name a validation_file or a validation_split too"),
        ("training.eval_samples", 2, "name a validation_file or a validation_split too"),
        ("training.deterministic", "maybe", "true or false"),
        ("training.eval_samples", 17, "from 0 to 16"),
        ("training.eval_max_new_tokens", 0, "from 1 to 512"),
        (
            "training.early_stopping_threshold",
            0.1,
            "means nothing without 'training.early_stopping_patience'",
        ),
        ("training.epochs", 1, "Unknown parameter"),
        ("training.max_length", 7, "of at least 8"),
        ("training.max_length", MAX_LENGTH + 1, f"{MAX_LENGTH} tokens at most"),
        ("training.devices", 0, "from 1 to 64"),
        ("training.devices", 3, "trains on 3 devices. On offer: 1, 2"),
        ("training.fsdp", "full_shard", "'training.devices' must be above 1"),
        ("model", "gpt-4o-mini", f"On offer: {BASE_MODEL}, small-model"),
        ("model", None, "a string"),
        ("model", ["x"], "a list. It must be a string"),
        ("model", [], "an empty list. It must be a string"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    api: Api, alice: Tenant, training_file: str, param: str, value: Any, says: str
) -> None:
    before = api.job_count()
    error = refusal(alice.ask_for_job(**{"training_file": training_file, **at(param, value)}), 400, param)
    assert error["type"] == "invalid_request_error"
    assert says in error["message"]
    assert len(error["message"]) < 500
    assert api.job_count() == before


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 99}}}},
            "method.supervised.hyperparameters.n_epochs",
            "from 1 to 50",
        ),
        ({"method": {"type": "supervised", "supervised": {"beta": 1}}}, "method.supervised.beta", "Unknown"),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 3}}}},
            "method.dpo.hyperparameters.beta",
            "2",
        ),
        ({"method": {}}, "method.type", "Missing required parameter"),
        ({"method": {"type": "reinforcement"}}, "method.reinforcement.grader", "Missing required parameter"),
        (
            {"method": {"type": "reinforcement", "reinforcement": {}}},
            "method.reinforcement.grader",
            "Missing required parameter",
        ),
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
        (
            {"adapter": {"init_lora_weights": "eva", "eva_config": {"rho": 0.5}}},
            "adapter.eva_config.rho",
            "from 1 to 16",
        ),
        ({"adapter": {"type": "ia3", "feedforward_modules": []}}, "adapter.feedforward_modules", "1 item"),
        (
            {"training": {"devices": 2, "fsdp": "full_shard", "eval_samples": 2}},
            "training.fsdp",
            "'training.eval_samples' asks for them",
        ),
        ({"training": {"devices": 2, "fsdp": "hybrid_shard"}}, "training.fsdp", '"full_shard"'),
    ],
)
def test_what_does_not_go_together_is_named(
    alice: Tenant, training_file: str, body: dict[str, Any], param: str, says: str
) -> None:
    assert says in refusal(alice.ask_for_job(training_file=training_file, **body), 400, param)["message"]


def test_a_hint_leads_to_names_that_exist(alice: Tenant) -> None:
    """Each 'place' and "value" of a hint is one that a request may have."""
    schemas = alice.http.get("/openapi.json").json()["components"]["schemas"]
    create, training = schemas["CreateJob"]["properties"], schemas["TrainingOptions"]["properties"]
    known = {*create, *(f"training.{name}" for name in training), "method.type", "adapter.type"}
    known |= {f"adapter.{name}" for name in schemas["LoraAdapter"]["properties"]}
    for method in ("reinforcement", "distillation"):
        known |= {f"method.{method}.{name}" for name in OBJECTIVES[method].options_beside}
        own = schemas[f"Requested{method.title()}"]["properties"]
        known |= {f"method.{method}.hyperparameters.{name}" for name in own}
    known |= {f"hyperparameters.{name}" for name in schemas["RequestedHyperparameters"]["properties"]}
    offered = {
        *METHODS,
        *OBJECTIVES,
        *POLICY_LOSSES,
        "nf4",
        "int8",
        "none",
        "pissa",
        "olora",
        "eva",
        "corda",
        "loftq",
        "lora_ga",
    }
    for hints in NAMES.values():
        for hint in hints.values():
            assert set(re.findall(r"'([^']+)'", hint)) <= known, hint
            assert set(re.findall(r'"([^"]+)"', hint)) <= offered, hint


def test_all_wrong_parameters_are_named_the_first_with_what_is_allowed(alice: Tenant) -> None:
    body = {"suffix": "a:b", "seed": -1, "hyperparameters": {"n_epochs": 0, "epochs": 3}}
    error = refusal(alice.ask_for_job(**body), 400, "training_file")
    assert error["message"] == (
        "Missing required parameter: 'training_file'. Also wrong: 'suffix', 'seed', "
        "'hyperparameters.n_epochs' and 'hyperparameters.epochs'."
    )


def test_a_great_many_wrong_parameters_make_a_short_answer(alice: Tenant, training_file: str) -> None:
    unknown = {f"field{number}": 1 for number in range(10_000)}
    error = refusal(
        alice.ask_for_job(training_file=training_file, adapter=unknown),
        400,
        "adapter.field0",
        "unknown_parameter",
    )
    assert "'adapter.field8' and at least 91 more" in error["message"]
    assert len(error["message"]) < 600


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
        answer = alice.ask_for_job(**{"training_file": training_file, param: file_id})
        error = refusal(answer, 400, param, "invalid_file_id")
        told.add(error["message"].replace(file_id, "<id>"))
    assert told == {"No such File object: <id>"}


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_file_of_another_purpose_is_refused(alice: Tenant, training_file: str, param: str) -> None:
    other = alice.upload(purpose="batch")
    error = refusal(
        alice.ask_for_job(**{"training_file": training_file, param: other}),
        400,
        param,
        "invalid_file_purpose",
    )
    assert "'batch'" in error["message"]


@pytest.mark.parametrize(("rows", "says"), [(9, "9 rows"), (1, "1 row;")])
def test_a_training_file_needs_ten_rows(alice: Tenant, rows: int, says: str) -> None:
    few = alice.upload(dataset(rows))
    error = refusal(alice.ask_for_job(training_file=few), 400, "training_file", "invalid_n_examples")
    assert says in error["message"]
    assert "at least 10" in error["message"]
    alice.create_job(validation_file=few)


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_file_with_more_rows_than_the_server_takes_is_refused(api: Api, alice: Tenant, param: str) -> None:
    too_many, allowed = alice.upload(dataset(13)), alice.upload(dataset(12))
    body = {"model": BASE_MODEL, "training_file": allowed, "validation_file": allowed}
    with api.beside(max_training_rows=12, max_validation_rows=12) as strict:
        jobs = f"{strict.url}/v1/fine_tuning/jobs"
        error = refusal(
            alice.http.post(jobs, json={**body, param: too_many}), 400, param, "invalid_n_examples"
        )
        assert "13 rows" in error["message"]
        assert "at most 12" in error["message"]
        assert alice.http.post(jobs, json=body).status_code == 200


def test_no_job_is_made_of_a_file_that_is_being_deleted(api: Api, alice: Tenant) -> None:
    file_id = alice.upload()
    with api.sessions() as deleting:
        deleting.get_one(File, file_id, with_for_update=True).deleted_at = func.now()
        deleting.flush()
        answer = in_thread(lambda: alice.ask_for_job(training_file=file_id))
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
