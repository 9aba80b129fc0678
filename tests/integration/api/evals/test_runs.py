"""Runs of evals through OpenAI's client: created, watched, listed, cancelled and deleted."""

import json
import re
from typing import Any

import httpx
import pytest
from openai.types.evals import (
    RunCancelResponse,
    RunCreateResponse,
    RunDeleteResponse,
    RunListResponse,
    RunRetrieveResponse,
)

from api.evals.runs.rows import LOOKED_AT
from api.http.paging import PAGE_BYTES
from core.access.projects import find_project, set_quotas
from core.errors import JobError
from core.tables import Task
from core.work import lease as leases
from tests.fixtures.rows.images import about, data_url, encoded, image_part, picture
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal, row, settings, strictly
from tests.fixtures.work.completions import allow, store
from tests.fixtures.work.evals_api import (
    ASKING,
    CHECK,
    EVAL,
    EVALS,
    ITEMS,
    ROWS,
    finish_run,
    judged,
    make_eval,
    make_run,
    report_of,
    sampled,
    take_run,
)

LOSS = [{"type": "loss"}]


@pytest.fixture(scope="module")
def eval_id(alice: Tenant) -> str:
    return make_eval(alice)


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in rows)


def test_the_official_client_reads_a_run_from_its_beginning_to_its_end(
    api: Api, alice: Tenant, eval_id: str
) -> None:
    runs = alice.openai.evals.runs
    made = runs.create(eval_id, data_source=ROWS, name="base", metadata={"a": "b"})
    strictly(RunCreateResponse, made.model_dump())
    assert (made.status, made.model, made.report_url) == ("queued", BASE_MODEL, "")
    lease = take_run(api, made.id)
    with api.sessions.begin() as session:
        leases.renew(session, lease, "judging", 0.25)
    doing = alice.http.get(f"{EVALS}/{eval_id}/runs/{made.id}").json()
    assert (doing["status"], doing["progress"]) == ("in_progress", {"phase": "judging", "percent": 25.0})
    with api.sessions.begin() as session:
        leases.release(session, lease, 0.0)
    finish_run(api, made.id, [judged(0), judged(1, passed=False), judged(2, error="model_failed")])
    done = runs.retrieve(made.id, eval_id=eval_id)
    strictly(RunRetrieveResponse, done.model_dump())
    assert done.result_counts.model_dump() == {"total": 3, "passed": 1, "failed": 1, "errored": 1}
    (counts,) = done.per_testing_criteria_results
    assert counts.model_dump() == {"testing_criteria": "same", "passed": 1, "failed": 1}
    assert [usage.run_model_name for usage in done.per_model_usage] == [BASE_MODEL]
    shown = alice.http.get(f"{EVALS}/{eval_id}/runs/{made.id}").json()
    (criterion,) = shown["criteria"]
    assert (criterion["value"], criterion["low"], criterion["high"]) == (0.5, 0.25, 0.75)
    assert shown["started_at"] <= shown["finished_at"] < shown["expires_at"]
    (listed,) = [run for run in runs.list(eval_id, status="completed") if run.id == made.id]
    strictly(RunListResponse, listed.model_dump())
    strictly(RunDeleteResponse, runs.delete(made.id, eval_id=eval_id).model_dump())


def test_a_run_with_several_samples_of_each_row_shows_whether_there_is_anything_to_learn(
    api: Api, alice: Tenant, eval_id: str
) -> None:
    several = {**ROWS, "sampling_params": {"n": 4}}
    made = alice.openai.evals.runs.create(eval_id, data_source=several)
    strictly(RunCreateResponse, made.model_dump())
    finish_run(api, made.id, *sampled([[False] * 4, [True, False, False, False], [True] * 4]))
    shown = alice.http.get(f"{EVALS}/{eval_id}/runs/{made.id}").json()
    strictly(RunRetrieveResponse, alice.openai.evals.runs.retrieve(made.id, eval_id=eval_id).model_dump())
    assert shown["result_counts"] == {"total": 12, "passed": 5, "failed": 7, "errored": 0}
    found = shown["criteria"][0]["sampled"]
    assert found["pass_at_k"] == pytest.approx({"1": 5 / 12, "2": 1.5 / 3, "4": 2 / 3})
    assert (found["rows"], found["rows_without_variance"], found["verdict"]) == (3, 2, "learnable")
    assert (found["rows_never_passed"], found["rows_always_passed"]) == (1, 1)
    assert [row["datasource_item_id"] for row in found["worst"]] == [0, 1, 2]
    items = list(alice.openai.evals.runs.output_items.list(made.id, eval_id=eval_id))
    assert [item.datasource_item_id for item in items] == [0] * 4 + [1] * 4 + [2] * 4


def test_a_run_that_failed_says_why(api: Api, alice: Tenant, eval_id: str) -> None:
    run_id = make_run(alice, eval_id)
    lease = take_run(api, run_id)
    with api.sessions.begin() as session:
        leases.fail(session, lease, JobError("no_server", "No server has the model."))
    failed = alice.openai.evals.runs.retrieve(run_id, eval_id=eval_id)
    assert failed.status == "failed"
    assert failed.error.model_dump() == {"code": "no_server", "message": "No server has the model."}


def test_a_run_is_cancelled_and_then_deleted(alice: Tenant, eval_id: str) -> None:
    runs = alice.openai.evals.runs
    run_id = make_run(alice, eval_id)
    url = f"{EVALS}/{eval_id}/runs/{run_id}"
    refusal(alice.http.delete(url), 409, None, "task_not_ended")
    cancelled = runs.cancel(run_id, eval_id=eval_id)
    strictly(RunCancelResponse, cancelled.model_dump())
    assert cancelled.status == "canceled"
    assert run_id in [run.id for run in runs.list(eval_id, status="canceled")]
    error = refusal(alice.http.post(f"{url}/cancel"), 409, None, "task_ended")
    assert "is canceled" in error["message"], "the run's status as clients know it"
    runs.delete(run_id, eval_id=eval_id)
    refusal(alice.http.get(url), 404, "run_id", "eval_run_not_found")


def test_a_page_of_runs_with_large_reports_ends_early(api: Api, alice: Tenant) -> None:
    eval_id = make_eval(alice)
    report = report_of([judged(0)])
    report.criteria[0].details = {"x" * PAGE_BYTES: 1.0}
    for _ in range(2):
        finish_run(api, make_run(alice, eval_id), [judged(0)], report)
    page = alice.http.get(f"{EVALS}/{eval_id}/runs").json()
    assert (len(page["data"]), page["has_more"]) == (1, True)


def test_runs_are_listed_from_the_oldest_on(api: Api) -> None:
    tenant = api.tenant()
    eval_id = make_eval(tenant)
    made = [make_run(tenant, eval_id) for _ in range(3)]
    listed = tenant.openai.evals.runs.list
    assert [run.id for run in listed(eval_id, limit=1)] == made
    assert [run.id for run in listed(eval_id, limit=2, order="desc")] == made[::-1]
    assert list(listed(eval_id, status="completed")) == []
    other = make_eval(tenant)
    assert list(listed(other)) == []
    refusal(tenant.http.get(f"{EVALS}/{other}/runs/{made[0]}"), 404, "run_id", "eval_run_not_found")


def test_what_a_server_loads_is_settled_when_the_run_is_created(api: Api, alice: Tenant) -> None:
    """An alias that moves later changes nothing."""
    alice.http.post("/v1/aliases", json={"name": "prod", "model": BASE_MODEL})
    graders = [{"type": "score_model", "name": "s", "model": "prod", "input": ASKING["template"]}]
    eval_id = make_eval(alice, testing_criteria=[CHECK, *graders])
    run_id = make_run(alice, eval_id, model="prod")
    with api.sessions() as session:
        asked = session.get_one(Task, run_id).request
    served = {"base": BASE_MODEL}
    assert (asked["model"], asked["served"], asked["grader_models"]) == (BASE_MODEL, served, {"prod": served})


def test_an_adapter_can_be_judged(api: Api, alice: Tenant, eval_id: str, adapter_folder: Any) -> None:
    job_id = alice.create_job()["id"]
    adapter_id = api.finish(api.claim(job_id), adapter_folder)
    shown = alice.http.get(f"{EVALS}/{eval_id}/runs/{make_run(alice, eval_id, model=adapter_id)}").json()
    assert shown["model"] == alice.job(job_id)["fine_tuned_model"]


def source(**changed: Any) -> dict[str, Any]:
    return ROWS | changed


def inline(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "file_content", "content": list(content)}


@pytest.mark.parametrize(
    ("data_source", "place", "code"),
    [
        (source(model="no-such-model"), "data_source.model", "model_not_found"),
        (source(model=None), "data_source.model", "missing_required_parameter"),
        (source(type="responses"), "data_source.type", "invalid_value"),
        (source(source={"type": "file_id", "id": "file-x"}), "data_source.source.id", "invalid_file_id"),
        (
            source(source={"type": "file_id", "id": "file-x", "limit": 60_000}),
            "data_source.source.limit",
            "too_many_rows",
        ),
        (source(source={"type": "stored_completions"}), "data_source.source", "no_rows"),
        (
            source(source={"type": "stored_completions", "created_after": 10**15}),
            "data_source.source.created_after",
            "invalid_value",
        ),
        (source(source={"type": "responses"}), "data_source.source.type", "invalid_value"),
        (source(input_messages=None), "data_source.source.content.0", "invalid_row"),
        ({"type": "jsonl", "source": inline(ITEMS[0])}, "data_source.source.content.0", "invalid_row"),
        (
            source(sampling_params={"seed": 2**63 - 1}),  # with a row's index it would have 65 bits
            "data_source.sampling_params.seed",
            "invalid_value",
        ),
        (
            source(sampling_params={"response_format": {"type": "xml"}}),
            "data_source.sampling_params.response_format",
            "invalid_value",
        ),
        (
            source(sampling_params={"reasoning_effort": "low"}),
            "data_source.sampling_params.reasoning_effort",
            "unsupported_parameter",
        ),
        (source(sampling_params={"n": 65}), "data_source.sampling_params.n", "invalid_value"),
        (
            source(sampling_params={"n": 2, "temperature": 0.0}),  # both answers would be equal
            "data_source.sampling_params.temperature",
            "invalid_value",
        ),
        (
            source(
                input_messages={
                    "type": "template",
                    "template": [{"role": "user", "content": "{{ sample.output_text }}"}],
                }
            ),
            "data_source.input_messages.template.0.content",
            "invalid_value",
        ),
    ],
)
def test_a_run_that_cannot_be_done_is_refused_with_its_place(
    alice: Tenant, eval_id: str, data_source: dict[str, Any], place: str, code: str
) -> None:
    answer = alice.http.post(f"{EVALS}/{eval_id}/runs", json={"data_source": data_source})
    refusal(answer, 400, place, code)


def test_a_seed_at_either_end_of_what_a_refusal_names_is_taken(alice: Tenant, eval_id: str) -> None:
    def asked(seed: int) -> httpx.Response:
        body = {"data_source": source(sampling_params={"seed": seed})}
        return alice.http.post(f"{EVALS}/{eval_id}/runs", json=body)

    message = refusal(asked(2**63 - 1), 400, "data_source.sampling_params.seed")["message"]
    named = re.search(r"It must be an integer from (-\d+) to (\d+)( or null)?\.", message)
    assert named, message
    for seed in (int(named[1]), int(named[2])):
        run_id = asked(seed).json()["id"]
        assert alice.http.post(f"{EVALS}/{eval_id}/runs/{run_id}/cancel").is_success
        refusal(asked(seed + (1 if seed > 0 else -1)), 400, "data_source.sampling_params.seed")


def test_loss_needs_a_model_and_rows_with_an_answer(alice: Tenant) -> None:
    url = f"{EVALS}/{make_eval(alice, testing_criteria=LOSS)}/runs"
    given = {"type": "jsonl", "source": inline(*ITEMS)}
    refusal(alice.http.post(url, json={"data_source": given}), 400, "data_source.type", "invalid_value")
    error = refusal(
        alice.http.post(url, json={"data_source": ROWS}), 400, "data_source.source.content.0", "invalid_row"
    )
    assert "not a row of a training file" in error["message"]
    prompt = {"messages": [{"role": "user", "content": "2 + 3"}], "sum": 5}
    asked = {"type": "completions", "model": BASE_MODEL, "source": inline({"item": prompt})}
    error = refusal(
        alice.http.post(url, json={"data_source": asked}), 400, "data_source.source.content.0", "invalid_row"
    )
    assert "it has no answer, which 'loss'" in error["message"]
    file = {"type": "file_id", "id": alice.upload()}
    asked = {"type": "completions", "model": BASE_MODEL, "source": file}
    assert alice.http.post(url, json={"data_source": asked}).status_code == 200


@pytest.mark.parametrize("kind", ["loss", "token_accuracy", "label_f1"])
def test_criteria_that_judge_a_row_once_take_no_several_samples(alice: Tenant, kind: str) -> None:
    url = f"{EVALS}/{make_eval(alice, testing_criteria=[CHECK, {'type': kind}])}/runs"
    several = {"data_source": source(sampling_params={"n": 2})}
    refused = refusal(alice.http.post(url, json=several), 400, "data_source.sampling_params.n")
    assert f"the criterion '{kind}'" in refused["message"]


def test_rows_must_have_the_fields_that_the_schema_requires(alice: Tenant) -> None:
    schema = {"type": "object", "required": ["question", "hint"]}
    config = {"type": "custom", "item_schema": schema, "include_sample_schema": True}
    eval_id = make_eval(alice, data_source_config=config)
    answer = alice.http.post(f"{EVALS}/{eval_id}/runs", json={"data_source": ROWS})
    error = refusal(answer, 400, "data_source.source.content.0", "invalid_row")
    assert "'hint'" in error["message"]


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b'{"item": {"a": 1}}\n{"item": \n', "Line 2"),
        (b"[1]\n", "not a JSON object"),
        (b"\n\n", "no rows"),
        ("{}".encode("utf-16"), "UTF-16"),
        (b'{"item": {}, "item": {}}\n', "each key once"),
    ],
)
def test_a_file_whose_rows_cannot_be_judged_is_refused(
    alice: Tenant, eval_id: str, content: bytes, wrong: str
) -> None:
    file = {"type": "file_id", "id": alice.upload(content, purpose="evals", name="items.jsonl")}
    answer = alice.http.post(f"{EVALS}/{eval_id}/runs", json={"data_source": source(source=file)})
    assert wrong in refusal(answer, 400, "data_source.source.id")["message"]


@pytest.mark.parametrize("rows", [ITEMS, [row()] * 10])
def test_a_file_has_items_or_the_rows_of_a_training_file(
    alice: Tenant, eval_id: str, rows: list[dict[str, Any]]
) -> None:
    file = {"type": "file_id", "id": alice.upload(lines(*rows), purpose="evals", name="items.jsonl")}
    make_run(alice, eval_id, source=file)


def test_a_row_may_have_images_beside_what_a_row_without_them_may_have(
    api: Api, alice: Tenant, eval_id: str
) -> None:
    content = encoded(picture()) + b"x" * api.settings.max_row_bytes
    rows = lines(about(image_part(data_url(content))))
    file = {"type": "file_id", "id": alice.upload(rows, purpose="evals", name="items.jsonl")}
    make_run(alice, eval_id, source=file)


def test_a_foreign_file_is_no_file(alice: Tenant, bob: Tenant, eval_id: str) -> None:
    file = {"type": "file_id", "id": bob.upload()}
    answer = alice.http.post(f"{EVALS}/{eval_id}/runs", json={"data_source": source(source=file)})
    refusal(answer, 400, "data_source.source.id", "invalid_file_id")


def test_a_report_url_leads_to_the_run_s_page_in_the_dashboard(api: Api, alice: Tenant, eval_id: str) -> None:
    run_id = make_run(alice, eval_id)
    runs = alice.openai.evals.runs
    with settings(api, public_url="https://tunery.example.com/tuning"):
        shown = [runs.retrieve(run_id, eval_id=eval_id), runs.list(eval_id, order="desc").data[0]]
    page = f"https://tunery.example.com/tuning/evals/{eval_id}?tuned={run_id}"
    assert [run.report_url for run in shown] == [page, page]
    assert runs.retrieve(run_id, eval_id=eval_id).report_url == ""


def test_more_rows_than_a_run_may_have_need_a_limit(api: Api, alice: Tenant) -> None:
    eval_id, most = make_eval(alice), 20
    url = f"{EVALS}/{eval_id}/runs"
    content = lines(*[row(str(number)) for number in range(most + 1)])
    many = source(source=inline(*ITEMS * 7))
    with settings(api, max_eval_rows=most):
        for purpose in ("fine-tune", "evals"):
            file = {"type": "file_id", "id": alice.upload(content, purpose=purpose)}
            answer = alice.http.post(url, json={"data_source": source(source=file)})
            refusal(answer, 400, "data_source.source.limit", "too_many_rows")
            limited = source(source=file | {"limit": most})
            assert alice.http.post(url, json={"data_source": limited}).status_code == 200
        answer = alice.http.post(url, json={"data_source": many})
        refusal(answer, 400, "data_source.source.content", "too_many_rows")
        twice = source(source=inline(*ITEMS[:2] * 6), sampling_params={"n": 2})
        answer = alice.http.post(url, json={"data_source": twice})
        refused = refusal(answer, 400, "data_source.source.content", "too_many_rows")
        assert "at most 10 rows" in refused["message"]


def test_a_long_file_is_not_counted_when_a_run_is_created(api: Api, alice: Tenant, eval_id: str) -> None:
    """The process of the run refuses too many rows, so the request need not read the whole file."""
    content = lines(*ITEMS[:1] * (LOOKED_AT + 1))
    file = {"type": "file_id", "id": alice.upload(content, purpose="evals", name="items.jsonl")}
    with settings(api, max_eval_rows=LOOKED_AT):
        make_run(alice, eval_id, source=file)


def test_stored_completions_are_selected_as_in_their_list(api: Api) -> None:
    tenant = api.tenant()
    allow(tenant)
    store(tenant)
    eval_id = make_eval(tenant)
    make_run(tenant, eval_id, source={"type": "stored_completions", "model": BASE_MODEL})
    nothing = source(source={"type": "stored_completions", "model": "another"})
    answer = tenant.http.post(f"{EVALS}/{eval_id}/runs", json={"data_source": nothing})
    refusal(answer, 400, "data_source.source", "no_rows")


def test_rows_with_samples_need_no_model(alice: Tenant, eval_id: str) -> None:
    rows = inline({"item": {"answer": "yes"}, "sample": {"output_text": "no"}})
    made = alice.openai.evals.runs.create(eval_id, data_source={"type": "jsonl", "source": rows})
    strictly(RunCreateResponse, made.model_dump())
    assert (made.model, made.name) == ("", EVAL["name"])


def test_quotas_hold_for_runs(api: Api) -> None:
    tenant = api.tenant()
    eval_id = make_eval(tenant)
    url = f"{EVALS}/{eval_id}/runs"
    with settings(api, project_open_tasks=1):
        run_id = make_run(tenant, eval_id)
        refusal(tenant.http.post(url, json={"data_source": ROWS}), 429, None, "rate_limit_exceeded")
    tenant.openai.evals.runs.cancel(run_id, eval_id=eval_id)
    with api.sessions.begin() as session:
        set_quotas(session, find_project(session, tenant.project), {"stored_bytes": 0})
    refusal(tenant.http.post(url, json={"data_source": ROWS}), 429, None, "insufficient_quota")
