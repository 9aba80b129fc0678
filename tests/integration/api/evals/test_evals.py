"""Evals through OpenAI's client: they are created, listed, renamed and deleted with their runs."""

from pathlib import Path
from typing import Any

import pytest
from openai.types import (
    EvalCreateResponse,
    EvalDeleteResponse,
    EvalListResponse,
    EvalRetrieveResponse,
    EvalUpdateResponse,
)

from core.evals.criteria import CRITERION
from core.evals.evals import create_eval
from core.roles import Role
from core.tables import Eval, Task
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal, strictly
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.work.evals_api import CHECK, EVAL, EVALS, finish_run, judged, make_eval, make_run

SIMILAR = {
    "type": "text_similarity",
    "name": "alike",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "evaluation_metric": "rouge_l",
    "pass_threshold": 0.5,
}
MESSAGES = [{"role": "user", "content": "Is it polite? {{ sample.output_text }}"}]
LABELLED = {
    "type": "label_model",
    "name": "polite",
    "model": BASE_MODEL,
    "input": MESSAGES,
    "labels": ["yes", "no"],
    "passing_labels": ["yes"],
}
SCORED = {"type": "score_model", "name": "score", "model": BASE_MODEL, "input": MESSAGES, "range": [0, 1]}


def test_the_official_client_reads_every_answer(alice: Tenant) -> None:
    evals = alice.openai.evals
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    made = evals.create(
        name="all graders",
        data_source_config={"type": "custom", "item_schema": schema, "include_sample_schema": True},
        testing_criteria=[CHECK, SIMILAR, LABELLED, SCORED],
        metadata={"team": "a"},
    )
    strictly(EvalCreateResponse, made.model_dump(by_alias=True))
    assert [criterion.type for criterion in made.testing_criteria] == [
        "string_check",
        "text_similarity",
        "label_model",
        "score_model",
    ]
    assert made.data_source_config.schema_["properties"]["item"] == schema
    strictly(EvalRetrieveResponse, evals.retrieve(made.id).model_dump(by_alias=True))
    renamed = evals.update(made.id, name="renamed")
    strictly(EvalUpdateResponse, renamed.model_dump(by_alias=True))
    assert (renamed.name, renamed.metadata) == ("renamed", {"team": "a"})
    assert evals.update(made.id, metadata=None).metadata is None
    (listed,) = [each for each in evals.list() if each.id == made.id]
    strictly(EvalListResponse, listed.model_dump(by_alias=True))
    strictly(EvalDeleteResponse, evals.delete(made.id).model_dump())
    refusal(alice.http.get(f"{EVALS}/{made.id}"), 404, "eval_id", "eval_not_found")


@pytest.mark.parametrize("type_", ["logs", "stored_completions"])
def test_the_rows_may_be_stored_completions(alice: Tenant, type_: str) -> None:
    config = {"type": type_, "metadata": {"use": "chat"}}
    made = alice.openai.evals.create(data_source_config=config, testing_criteria=[CHECK])
    strictly(EvalCreateResponse, made.model_dump(by_alias=True))
    assert made.data_source_config.metadata == {"use": "chat"}


def test_metrics_without_a_template_need_no_more_than_their_type(alice: Tenant) -> None:
    types = ["loss", "token_accuracy", "exact_match", "label_f1", "field_f1"]
    made = alice.http.post(EVALS, json=EVAL | {"testing_criteria": [{"type": each} for each in types]}).json()
    assert [criterion["name"] for criterion in made["testing_criteria"]] == types


@pytest.mark.parametrize(
    ("criterion", "place", "code"),
    [
        ({"type": "python", "name": "p", "source": "x"}, "testing_criteria.1.source", "invalid_value"),
        (CHECK, "testing_criteria.1.name", "duplicate_name"),
        ({**SIMILAR, "input": "{{ 1 + 1 }}"}, "testing_criteria.1.input", "invalid_value"),
        (
            {**SIMILAR, "evaluation_metric": "cosine"},
            "testing_criteria.1.evaluation_metric",
            "grader_not_available",
        ),
        ({**SCORED, "model": "no-such"}, "testing_criteria.1.model", "model_not_found"),
        ({**LABELLED, "model": "no-such"}, "testing_criteria.1.model", "model_not_found"),
        (
            {"type": "multi", "name": "m", "graders": {"a": SCORED}, "calculate_output": "b"},
            "testing_criteria.1.calculate_output",
            "invalid_value",
        ),
        (
            {
                "type": "multi",
                "name": "m",
                "graders": {"a": {**SCORED, "model": "x"}},
                "calculate_output": "a",
            },
            "testing_criteria.1.graders.a.model",
            "model_not_found",
        ),
        ({**LABELLED, "passing_labels": ["maybe"]}, "testing_criteria.1.passing_labels", "invalid_value"),
        (
            {**SCORED, "input": [{"role": "user", "content": "{{ }}"}]},
            "testing_criteria.1.input.0.content",
            "invalid_value",
        ),
        (
            {
                **SCORED,
                "input": [{"role": "user", "content": {"type": "input_image", "image_url": "https://x"}}],
            },
            "testing_criteria.1.input.0.content",
            "invalid_image_url",
        ),
        (
            {
                **SCORED,
                "input": [
                    {
                        "role": "user",
                        "content": {"type": "input_image", "image_url": "https://x/{{ item.x }}"},
                    }
                ],
            },
            "testing_criteria.1.input.0.content",
            "invalid_image_url",
        ),
        (
            {
                **SCORED,
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "image_url": "{{ item.x }}"}] * 11}
                ],
            },
            "testing_criteria.1.input.0.content",
            "invalid_value",
        ),
        (
            {
                **SCORED,
                "input": [
                    {"role": "system", "content": {"type": "input_image", "image_url": "{{ item.x }}"}}
                ],
            },
            "testing_criteria.1.input.0.content",
            "invalid_value",
        ),
        (
            {
                **SCORED,
                "input": [
                    {
                        "role": "user",
                        "content": [{"type": "input_image", "image_url": "{{ item.x | upper }}"}],
                    }
                ],
            },
            "testing_criteria.1.input.0.content",
            "invalid_value",
        ),
        (
            {
                **SCORED,
                "input": [
                    {
                        "role": "user",
                        "content": {"type": "input_audio", "input_audio": {"data": "", "format": "mp3"}},
                    }
                ],
            },
            "testing_criteria.1.input.0.content",
            "unsupported_parameter",
        ),
        ({**SCORED, "range": [5, 1]}, "testing_criteria.1.range", "invalid_value"),
        ({**SCORED, "range": [-1e308, 1e308]}, "testing_criteria.1.range", "invalid_value"),
        (
            {**SCORED, "sampling_params": {"temperature": 9}},
            "testing_criteria.1.sampling_params.temperature",
            "invalid_value",
        ),
        (
            {**SCORED, "sampling_params": {"reasoning_effort": "low"}},
            "testing_criteria.1.sampling_params.reasoning_effort",
            "unsupported_parameter",
        ),
        ({"type": "exact_match", "input": "{{ sample"}, None, None),
        ({"type": "exact_match", "reference": "{{ x }}"}, "testing_criteria.1.reference", "invalid_value"),
    ],
)
def test_a_criterion_that_cannot_be_used_is_refused_with_its_place(
    alice: Tenant, criterion: dict[str, Any], place: str | None, code: str | None
) -> None:
    answer = alice.http.post(EVALS, json=EVAL | {"testing_criteria": [CHECK, criterion]})
    if place is None:
        assert answer.status_code == 200, "braces that never end are text"
    else:
        refusal(answer, 400, place, code)


def test_pages_are_in_the_order_of_creation_or_of_change(api: Api) -> None:
    tenant = api.tenant()
    first, second, third = (make_eval(tenant, name=name) for name in "abc")
    tenant.openai.evals.update(first, name="changed last")

    def pages(**asked: Any) -> list[str]:
        return [each.id for each in tenant.openai.evals.list(limit=1, **asked)]

    assert pages() == pages(order="asc") == [first, second, third]
    assert pages(order="desc") == [third, second, first]
    assert pages(order_by="updated_at") == [second, third, first]
    assert pages(order_by="updated_at", order="desc") == [first, third, second]
    foreign = {"order_by": "updated_at", "after": make_eval(api.tenant())}
    refusal(tenant.http.get(EVALS, params=foreign), 400, "after", "invalid_cursor")


def test_an_eval_goes_with_its_runs_and_their_files(api: Api) -> None:
    tenant = api.tenant(role=Role.ADMIN)
    eval_id, kept = make_eval(tenant), make_eval(tenant)
    done = make_run(tenant, eval_id)
    finish_run(api, done, [judged(0)])
    waiting, other = make_run(tenant, eval_id), make_run(tenant, kept)
    assert api.store.list(f"evalruns/{done}/")
    tenant.openai.evals.delete(eval_id)
    refusal(tenant.http.get(f"{EVALS}/{eval_id}/runs/{done}"), 404, "run_id", "eval_run_not_found")
    with api.sessions() as session:
        assert session.get_one(Task, waiting).status == "cancelled"
        assert session.get_one(Task, other).status == "queued"
    clean(api, GRACE_OVER)
    assert not api.store.list(f"evalruns/{done}/")
    with api.sessions() as session:
        row, run = session.get_one(Eval, eval_id), session.get_one(Task, done)
        assert (row.name, row.criteria, row.client_metadata) == ("", [], None)
        assert (run.request, run.report, run.files) == ({}, None, []), "they may quote rows"
    logged = {entry["type"] for entry in tenant.http.get("/v1/organization/audit_logs").json()["data"]}
    assert {"eval.created", "eval.deleted", "eval_run.created"} <= logged


def test_a_client_makes_an_eval_of_a_job_of_its_own_project(alice: Tenant, bob: Tenant) -> None:
    job_id = alice.create_job()["id"]
    made = make_eval(alice, job_id=job_id)
    assert alice.http.get(f"{EVALS}/{made}").json()["job_id"] == job_id
    listed = alice.http.get(EVALS, params={"job_id": job_id}).json()["data"]
    assert [each["id"] for each in listed] == [made]
    error = refusal(bob.http.post(EVALS, json=EVAL | {"job_id": job_id}), 400, "job_id", "job_not_found")
    assert "this project" in error["message"]


def test_evals_are_found_by_the_model_that_a_run_of_theirs_judges(api: Api, tmp_path: Path) -> None:
    tenant, other = api.tenant(), api.tenant()
    lease = api.claim(tenant.create_job()["id"])
    adapter_id = api.finish(lease, tmp_path)
    tuned = tenant.job(lease.job_id)["fine_tuned_model"]
    both, of_base, _without_runs = (make_eval(tenant) for _ in range(3))
    make_run(tenant, of_base)
    run, cancelled = (make_run(tenant, both, model=name) for name in (adapter_id, tuned))
    make_run(other, make_eval(other))

    def found(model: str) -> list[str]:
        return [each["id"] for each in tenant.http.get(EVALS, params={"model": model}).json()["data"]]

    assert (found(tuned), found(BASE_MODEL), found("no-such-model")) == ([both], [of_base], [])
    for each in (run, cancelled):
        tenant.openai.evals.runs.cancel(each, eval_id=both)
        tenant.openai.evals.runs.delete(each, eval_id=both)
    assert found(tuned) == []


def test_an_eval_of_a_job_says_so(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    with api.sessions.begin() as session:
        criteria = [CRITERION.validate_python({"type": "loss"})]
        made = create_eval(session, alice.project_id, "at the end", criteria, job_id=job_id).id
    shown = alice.http.get(f"{EVALS}/{made}").json()
    assert (shown["job_id"], shown["data_source_config"]["type"]) == (job_id, "custom")
