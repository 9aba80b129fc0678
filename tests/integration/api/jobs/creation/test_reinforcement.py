"""The method reinforcement: what a request may hold, what the job shows of it, and what is refused."""

import json
from typing import Any

import pytest
from openai.types.fine_tuning import FineTuningJob

from core.jobs.spec import JobSpec
from core.objectives.reinforcement import Reinforcement
from core.tables import Job
from tests.fixtures.service.api import BASE_MODEL, MAX_LENGTH, Api, Tenant, refusal, strictly
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.work.evals_api import finish_run, make_eval, make_run, sampled

JOBS, ESTIMATES = "/v1/fine_tuning/jobs", "/v1/fine_tuning/estimates"
GRADER = {
    "type": "string_check",
    "name": "same",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}
SCORE = {
    "type": "score_model",
    "name": "judge",
    "model": BASE_MODEL,
    "input": [{"role": "user", "content": "{{ sample.output_text }}"}],
    "range": [0, 1],
}
LABEL = {
    "type": "label_model",
    "name": "judge",
    "model": BASE_MODEL,
    "input": [{"role": "user", "content": "{{ sample.output_text }}"}],
    "labels": ["good", "bad"],
    "passing_labels": ["good"],
}
MULTI = {"type": "multi", "name": "both", "calculate_output": "same + judge"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "sum", "schema": {"type": "object"}}}
BASE = {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 0.2}
RESOLVED = {
    **BASE,
    "compute_multiplier": 1.0,
    "eval_interval": 5,
    "eval_samples": 1,
    "reasoning_effort": "default",
    "loss_type": "importance_sampling",
    "num_generations": 8,
    "max_completion_tokens": 256,
    "mask_truncated": True,
    "scale_rewards": False,
    "epsilon": 0.2,
    "epsilon_high": 0.28,
    "stop_on_audit": False,
}


def prompts(rows: int) -> bytes:
    found = [
        {"messages": [{"role": "user", "content": f"{number} + 1"}], "answer": str(number + 1)}
        for number in range(rows)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in found)


@pytest.fixture(scope="module")
def file_id(alice: Tenant) -> str:
    return alice.upload(prompts(40))


def method(grader: Any = GRADER, hyperparameters: Any = None, **beside: Any) -> dict[str, Any]:
    options = {"grader": grader, **beside}
    if hyperparameters is not None:
        options["hyperparameters"] = hyperparameters
    return {"type": "reinforcement", "reinforcement": options}


def asking(file_id: str, **changed: Any) -> dict[str, Any]:
    return {"training_file": file_id, "validation_file": file_id, "method": method(), **changed}


def spec_of(api: Api, job_id: str) -> JobSpec:
    with api.sessions() as session:
        return JobSpec.model_validate(session.get_one(Job, job_id).spec)


def test_the_official_client_creates_a_job_with_every_field(api: Api, alice: Tenant, file_id: str) -> None:
    job = alice.openai.fine_tuning.jobs.create(
        model=BASE_MODEL,
        training_file=file_id,
        validation_file=file_id,
        method={
            "type": "reinforcement",
            "reinforcement": {
                "grader": GRADER,  # type: ignore[typeddict-item]  # a plain dictionary
                "hyperparameters": {
                    "batch_size": 8,
                    "compute_multiplier": 0.5,
                    "eval_interval": 2,
                    "eval_samples": 3,
                    "learning_rate_multiplier": 2.5,
                    "n_epochs": "auto",
                    "reasoning_effort": "default",
                },
            },
        },
    )
    shown = alice.job(job.id)
    found = strictly(FineTuningJob, shown).method.reinforcement
    assert found.grader.type == "string_check"
    numbers = found.hyperparameters
    assert (numbers.n_epochs, numbers.batch_size, numbers.learning_rate_multiplier) == (6, 8, 2.5)
    assert (numbers.compute_multiplier, numbers.eval_interval, numbers.eval_samples) == (0.5, 2, 3)
    assert numbers.reasoning_effort == "default"
    assert shown["method"]["reinforcement"]["hyperparameters"]["num_generations"] == 4
    options = spec_of(api, job.id).objective
    assert isinstance(options, Reinforcement)
    assert (options.grader.model_dump(), options.num_generations) == (GRADER, 4)


def test_auto_becomes_numbers_that_the_job_shows(alice: Tenant, file_id: str) -> None:
    numbers = [name for name, value in RESOLVED.items() if not isinstance(value, str | bool)]
    for hyperparameters in (None, {}, dict.fromkeys(numbers, "auto")):
        job = alice.create_job(**asking(file_id, method=method(hyperparameters=hyperparameters)))
        assert job["method"]["reinforcement"] == {
            "grader": GRADER,
            "audit_grader": None,
            "tools": None,
            "max_episode_steps": 10,
            "response_format": None,
            "hyperparameters": RESOLVED,
        }
        assert job["hyperparameters"] == BASE


def test_rows_that_a_split_holds_out_are_a_validation_too(alice: Tenant, file_id: str) -> None:
    job = alice.create_job(training_file=file_id, validation_split=10, method=method())
    assert job["validation_split"] == 10


@pytest.mark.parametrize("response_format", [{"type": "text"}, {"type": "json_object"}, SCHEMA])
def test_a_form_of_answers_is_kept_as_the_sampler_takes_it(
    api: Api, alice: Tenant, file_id: str, response_format: Any
) -> None:
    job = alice.create_job(**asking(file_id, method=method(response_format=response_format)))
    assert job["method"]["reinforcement"]["response_format"] == response_format
    options = spec_of(api, job["id"]).objective
    assert isinstance(options, Reinforcement)
    assert options.response_format == response_format


def test_what_a_server_loads_for_the_models_of_a_grader_is_kept(
    api: Api, alice: Tenant, file_id: str
) -> None:
    both = {**MULTI, "graders": {"same": GRADER, "judge": LABEL}}
    for grader in (SCORE, both):
        job = alice.create_job(**asking(file_id, method=method(grader)))
        assert set(spec_of(api, job["id"]).grader_models) == {BASE_MODEL}
    job = alice.create_job(**asking(file_id))
    assert spec_of(api, job["id"]).grader_models == {}


def test_an_audit_is_kept_with_the_models_that_it_asks(api: Api, alice: Tenant, file_id: str) -> None:
    stopping = method(hyperparameters={"stop_on_audit": True}, audit_grader=SCORE)
    job = alice.create_job(**asking(file_id, method=stopping))
    shown = job["method"]["reinforcement"]
    assert (shown["audit_grader"]["name"], shown["hyperparameters"]["stop_on_audit"]) == ("judge", True)
    spec = spec_of(api, job["id"])
    assert isinstance(spec.objective, Reinforcement)
    assert [grader.name for grader in spec.objective.graders] == ["same", "judge"]
    assert set(spec.grader_models) == {BASE_MODEL}
    assert spec.publishes_best


def test_an_evaluation_judges_by_the_jobs_own_grader_unless_it_names_criteria(
    api: Api, alice: Tenant, file_id: str
) -> None:
    job = alice.create_job(**asking(file_id, evaluate={}))
    (criterion,) = job["evaluate"]["criteria"]
    assert criterion["type"] == "string_check"
    answerless = {"criteria": [{"type": "loss"}]}
    answered = alice.ask_for_job(**asking(file_id, evaluate=answerless))
    refusal(answered, 400, "evaluate.criteria.0.type", "invalid_value")


HYPERPARAMETERS = "method.reinforcement.hyperparameters"


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"validation_file": None}, "validation_file", "'validation_file' or a 'validation_split'"),
        ({"training": {"devices": 2}}, "training.devices", "must be 1"),
        ({"training": {"devices": 2, "fsdp": "full_shard"}}, "training.fsdp", "cannot sample answers"),
        ({"training": {"row_losses": 10}}, "training.row_losses", "prompts have none"),
        ({"adapter": {"type": "lora", "lora_dropout": 0.1}}, "adapter.lora_dropout", "without dropout"),
        ({"adapter": {"type": "lora", "dynamic_rank": True}}, "adapter.dynamic_rank", "with all ranks"),
        (
            {"adapter": {"type": "lora", "init_lora_weights": "lora_ga"}},
            "adapter.init_lora_weights",
            "gradients of answers",
        ),
        (
            {"training": {"early_stopping_patience": 3}},
            "training.early_stopping_patience",
            "'training.load_best_model_at_end'",
        ),
        ({"training": {"eval_steps": 3}}, "training.eval_steps", f"'{HYPERPARAMETERS}.eval_interval'"),
        (
            {"training": {"eval_max_new_tokens": 8}},
            "training.eval_max_new_tokens",
            f"'{HYPERPARAMETERS}.max_completion_tokens'",
        ),
        ({"augmentation": {"copies": 1, "user_case": True}}, "augmentation", "Leave it out"),
        ({"adapter": {"type": "lora", "r": "auto"}}, "adapter.r", "needs the method 'supervised'"),
        ({"method": method(LABEL)}, "method.reinforcement.grader.type", "'multi' grader"),
        (
            {"method": method(audit_grader=LABEL)},
            "method.reinforcement.audit_grader.type",
            "'multi' grader",
        ),
        (
            {"method": method(audit_grader={**SCORE, "model": "nobody-knows"})},
            "method.reinforcement.audit_grader.model",
            "nobody-knows",
        ),
        (
            {
                "method": method(
                    audit_grader={"type": "endpoint", "name": "far", "url": "http://192.168.0.1/"}
                )
            },
            "method.reinforcement.audit_grader.url",
            "refused",
        ),
        (
            {"method": method(hyperparameters={"stop_on_audit": True})},
            f"{HYPERPARAMETERS}.stop_on_audit",
            "'method.reinforcement.audit_grader'",
        ),
        (
            {"method": method(hyperparameters={"audit_grader": SCORE})},
            f"{HYPERPARAMETERS}.audit_grader",
            "beside 'hyperparameters'",
        ),
        (
            {"method": method({**GRADER, "input": "{{ 1 + 1 }}"})},
            "method.reinforcement.grader.input",
            "Write a path",
        ),
        (
            {"method": method({**SCORE, "model": "nobody-knows"})},
            "method.reinforcement.grader.model",
            "nobody-knows",
        ),
        (
            {"method": method({**MULTI, "graders": {"same": GRADER}})},
            "method.reinforcement.grader.calculate_output",
            "judge",
        ),
        (
            {"method": method({**MULTI, "graders": {"judge": {**LABEL, "model": "nobody"}, "same": GRADER}})},
            "method.reinforcement.grader.graders.judge.model",
            "nobody",
        ),
        (
            {"method": method({"type": "endpoint", "name": "far", "url": "http://192.168.0.1/"})},
            "method.reinforcement.grader.url",
            "refused",
        ),
        (
            {"method": method(response_format={"type": "yaml"})},
            "method.reinforcement.response_format.type",
            '"json_object"',
        ),
        (
            {"method": method(response_format={"type": "json_schema", "json_schema": {"name": "a b"}})},
            "method.reinforcement.response_format.json_schema.name",
            "matches",
        ),
        ({"method": method(hyperparameters={"batch_size": 257})}, f"{HYPERPARAMETERS}.batch_size", "256"),
        ({"method": method(hyperparameters={"n_epochs": 51})}, f"{HYPERPARAMETERS}.n_epochs", "50"),
        (
            {"method": method(hyperparameters={"compute_multiplier": 11})},
            f"{HYPERPARAMETERS}.compute_multiplier",
            "10",
        ),
        ({"method": method(hyperparameters={"eval_interval": 0})}, f"{HYPERPARAMETERS}.eval_interval", "1"),
        ({"method": method(hyperparameters={"eval_samples": 0})}, f"{HYPERPARAMETERS}.eval_samples", "1"),
        (
            {"method": method(hyperparameters={"reasoning_effort": "auto"})},
            f"{HYPERPARAMETERS}.reasoning_effort",
            '"default", "low"',
        ),
        (
            {"method": method(hyperparameters={"num_generations": 1})},
            f"{HYPERPARAMETERS}.num_generations",
            "from 2 to 64",
        ),
        (
            {"method": method(hyperparameters={"max_completion_tokens": MAX_LENGTH - 7})},
            f"{HYPERPARAMETERS}.max_completion_tokens",
            f"Choose at most {MAX_LENGTH - 8}",
        ),
        (
            {"method": method(hyperparameters={"temperature": 0.7})},
            f"{HYPERPARAMETERS}.temperature",
            "sampled with temperature 1",
        ),
        (
            {"method": method(hyperparameters={"group_size": 4})},
            f"{HYPERPARAMETERS}.group_size",
            f"'{HYPERPARAMETERS}.num_generations' instead",
        ),
    ],
)
def test_what_such_a_job_cannot_have_is_refused_with_the_way_out(
    api: Api, alice: Tenant, file_id: str, body: dict[str, Any], param: str, says: str
) -> None:
    before = api.job_count()
    error = refusal(alice.ask_for_job(**asking(file_id, **body)), 400, param)
    assert says in error["message"]
    assert api.job_count() == before


def test_a_sweep_is_refused(alice: Tenant, file_id: str) -> None:
    body = {"model": BASE_MODEL, **asking(file_id), "parameters": {"adapter.r": [4, 8]}}
    refusal(alice.http.post("/v1/fine_tuning/sweeps", json=body), 400, "method.type")


def test_files_and_methods_of_different_kinds_are_told_apart(alice: Tenant, file_id: str) -> None:
    chats = alice.upload()
    error = refusal(
        alice.ask_for_job(**asking(file_id, training_file=chats)), 400, "training_file", "invalid_file_kind"
    )
    assert "learns from a prompt without an answer on each line" in error["message"]
    supervised = alice.ask_for_job(training_file=file_id)
    assert "'reinforcement', 'distillation' take." in refusal(supervised, 400, "training_file")["message"]


def test_a_file_and_a_job_of_another_project_stay_hidden(alice: Tenant, bob: Tenant, file_id: str) -> None:
    refusal(bob.ask_for_job(**asking(file_id)), 400, "training_file")
    job = alice.create_job(**asking(file_id))
    refusal(bob.http.get(f"{JOBS}/{job['id']}"), 404, code="fine_tune_not_found", param="fine_tuning_job_id")
    own = bob.upload(prompts(40))
    assert bob.create_job(**asking(own))["method"] == job["method"]


def test_what_has_no_effect_or_is_slow_is_an_event(alice: Tenant, file_id: str) -> None:
    asked = method(hyperparameters={"reasoning_effort": "high"})
    job = alice.create_job(**asking(file_id, method=asked, adapter={"type": "ia3"}))
    warned = [event["data"].get("code") for event in alice.events(job["id"]) if event["level"] == "warn"]
    assert set(warned) == {"no_reasoning_effort", "slow_sampling"}
    quiet = alice.create_job(**asking(file_id))
    assert [event for event in alice.events(quiet["id"]) if event["level"] == "warn"] == []


def test_an_estimate_counts_all_answers_at_their_longest_and_promises_no_time(
    alice: Tenant, file_id: str
) -> None:
    small = {"num_generations": 4, "max_completion_tokens": 50, "n_epochs": 2}
    body = {"model": BASE_MODEL, **asking(file_id, method=method(hyperparameters=small))}
    found = alice.http.post(ESTIMATES, json=body).json()
    tokens = found["tokens"]
    assert tokens["sampled"] == 2 * 40 * 4 * 50
    assert tokens["count"] > tokens["sampled"]
    assert tokens["least"] < tokens["count"] <= tokens["most"]
    assert tokens["exact"] is False
    assert all(device["seconds"] is None and device["price"] is None for device in found["devices"])
    assert any(reason.startswith("Time and price: how fast") for reason in found["unknown"])
    refusal(alice.http.post(ESTIMATES, json={**body, "validation_file": None}), 400, "validation_file")


def test_no_text_of_the_grader_is_left_of_a_deleted_job(api: Api, alice: Tenant, file_id: str) -> None:
    asked = method(response_format=SCHEMA, audit_grader=SCORE)
    job_id = alice.create_job(**asking(file_id, method=asked))["id"]
    alice.http.post(f"{JOBS}/{job_id}/cancel").raise_for_status()
    alice.http.delete(f"{JOBS}/{job_id}").raise_for_status()
    clean(api, GRACE_OVER)
    with api.sessions() as session:
        objective = session.get_one(Job, job_id).spec["objective"]
    assert not objective.keys() & {"grader", "audit_grader", "response_format"}
    assert objective["num_generations"] == 8


def try_out(
    api: Api,
    tenant: Tenant,
    file_id: str,
    passed: list[list[bool]],
    grader: Any = GRADER,
    **sampling: Any,
) -> str:
    """Try a grader out on a file, with these results, and return the id of the run."""
    file = {"type": "file_id", "id": file_id}
    asked = {"source": file, "input_messages": None, "sampling_params": {"n": 4, **sampling}}
    run_id = make_run(tenant, make_eval(tenant, testing_criteria=[grader]), **asked)
    finish_run(api, run_id, *sampled(passed))
    return run_id


def warned_of(tenant: Tenant, file_id: str, **changed: Any) -> list[dict[str, Any]]:
    """Create a job, and return its warnings that it may learn nothing."""
    job = tenant.create_job(**asking(file_id, **changed))
    return [
        event
        for event in tenant.events(job["id"])
        if event["data"] and event["data"].get("code") == "nothing_to_learn_expected"
    ]


FLAT, VARIED = [[False] * 4] * 20, [[False, True, False, True]] * 20


def test_a_job_warns_if_a_try_out_of_its_grader_found_nothing_to_learn(api: Api) -> None:
    tenant = api.tenant()
    prompts_id = tenant.upload(prompts(40))
    assert warned_of(tenant, prompts_id) == []
    copy = tenant.upload(prompts(40), purpose="evals", name="copy.jsonl")
    run_id = try_out(api, tenant, copy, FLAT)
    (event,) = warned_of(tenant, prompts_id)
    assert (event["level"], event["data"]["run"], event["data"]["verdict"]) == ("warn", run_id, "too_hard")
    assert "never succeeds in 20 rows: take easier prompts" in event["message"]
    try_out(api, tenant, prompts_id, VARIED)
    assert warned_of(tenant, prompts_id) == [], "the newest try-out counts"


def test_a_job_is_refused_if_no_row_of_a_long_try_out_has_anything_to_learn(api: Api) -> None:
    tenant = api.tenant()
    prompts_id = tenant.upload(prompts(40))
    run_id = try_out(api, tenant, prompts_id, [[True] * 4] * 30)
    error = refusal(
        tenant.ask_for_job(**asking(prompts_id)), 400, "method.reinforcement.grader", "nothing_to_learn"
    )
    assert run_id in error["message"]
    assert "differ in their scores in 0 of 30 rows" in error["message"]
    assert "take harder prompts" in error["message"]
    try_out(api, tenant, prompts_id, [*[[True] * 4] * 29, [True, True, True, False]])
    assert len(warned_of(tenant, prompts_id)) == 1, "one row differs, so the job only warns"


def test_a_try_out_speaks_only_of_jobs_whose_answers_are_sampled_alike(api: Api) -> None:
    tenant = api.tenant()
    prompts_id = tenant.upload(prompts(40))
    for unlike in ({"temperature": 0.1}, {"top_p": 0.5}, {"response_format": {"type": "json_object"}}):
        try_out(api, tenant, prompts_id, [[True] * 4] * 30, **unlike)
        assert warned_of(tenant, prompts_id) == []
    try_out(api, tenant, prompts_id, FLAT, response_format={"type": "json_object"})
    assert len(warned_of(tenant, prompts_id, method=method(response_format={"type": "json_object"}))) == 1
    try_out(api, tenant, prompts_id, [[True] * 4] * 30, max_completion_tokens=1)
    assert len(warned_of(tenant, prompts_id)) == 1, "shorter answers refuse nothing"


def test_a_try_out_speaks_of_no_other_grader_rows_or_project(api: Api, bob: Tenant) -> None:
    tenant = api.tenant()
    prompts_id, others = tenant.upload(prompts(40)), tenant.upload(prompts(41))
    try_out(api, tenant, prompts_id, FLAT)
    assert warned_of(tenant, others) == []
    assert warned_of(tenant, prompts_id, method=method({**GRADER, "operation": "like"})) == []
    assert warned_of(bob, bob.upload(prompts(40))) == []
    assert len(warned_of(tenant, prompts_id, method=method({**GRADER, "name": "renamed"}))) == 1


def test_a_try_out_of_a_grader_with_secret_headers_speaks_of_its_job(api: Api) -> None:
    tenant = api.tenant()
    prompts_id = tenant.upload(prompts(40))
    endpoint = {
        "type": "endpoint",
        "name": "tests",
        "url": "https://graders.example.com/grade",
        "headers": {"authorization": "Bearer secret"},
    }
    try_out(api, tenant, prompts_id, FLAT, {**endpoint, "pass_threshold": 0.5})
    assert len(warned_of(tenant, prompts_id, method=method(endpoint))) == 1
    assert warned_of(tenant, prompts_id, method=method({**endpoint, "url": "https://example.com/"})) == []
