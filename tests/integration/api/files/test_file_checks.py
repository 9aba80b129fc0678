"""Checks of files through the API. The tests do in their own process what a task's process does."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from core.storage.object_store import task_prefix
from core.tables import File, Task, TokenCount
from core.work import lease as leases
from tests.fixtures.models.templates import FAMILIES, bytes_with
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal, row
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.work.file_tasks import checked, work_on
from tests.fixtures.work.taking import take
from worker.rendering.render import Rendering
from worker.supervisor.retention import delete_files

MARK = "⁂SEP⁂"  # a control token that no well-known template has


@pytest.fixture
def tenant(api: Api) -> Tenant:
    return api.tenant()


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in rows)


def at(file_id: str) -> str:
    return f"/v1/files/{file_id}/checks"


def codes(check: dict[str, Any]) -> dict[str, int]:
    return {each["code"]: each["count"] for each in check["counts"]}


def numbered(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [row(f"answer {chr(97 + n)}{n} of {n * 7919}") for n in range(first, first + count)]


def test_a_check_waits_and_then_has_a_report(api: Api, tenant: Tenant) -> None:
    rows = numbered(11)
    file_id = tenant.upload(lines(*rows, rows[0]))
    started = tenant.http.post(f"/v1/files/{file_id}/check").json()
    assert (started["status"], started["report"], started["file_id"]) == ("queued", None, file_id)
    work_on(api, take(api, started["id"]))
    check = tenant.http.get(f"{at(file_id)}/{started['id']}").json()
    assert (check["status"], check["error"], check["progress"]["percent"]) == ("succeeded", None, 100)
    report = check["report"]
    assert (report["rows"], report["kind"], report["mendable_rows"]) == (12, "chat", 1)
    (found,) = [each for each in report["findings"] if each["code"] == "exact_duplicate"]
    assert (found["line"], found["other_line"], found["severity"]) == (12, 1, "warning")
    (listed,) = tenant.http.get(at(file_id)).json()["data"]
    assert (listed["id"], listed["counts"]) == (check["id"], check["counts"])
    assert "report" not in listed
    assert check["expires_at"] > check["finished_at"]


def test_a_file_that_no_upload_takes_as_a_dataset_is_checked_too(api: Api, tenant: Tenant) -> None:
    file_id = tenant.upload(b'{"messages": []}\nnot json\n', purpose="user_data")
    check = checked(api, tenant, file_id)
    assert codes(check) == {"empty": 1, "invalid_json": 1}
    assert check["report"]["bad_rows"] == 2


def test_leaked_and_repeated_rows_are_left_out_of_a_mended_copy(api: Api, tenant: Tenant) -> None:
    rows = numbered(14)
    file_id, other = tenant.upload(lines(*rows, rows[2])), tenant.upload(lines(rows[5], *numbered(10, 20)))
    check = checked(api, tenant, file_id, validation_file=other, mend=True)
    assert codes(check).items() >= {"exact_duplicate": 1, "leaked_row": 1}.items()
    mended = tenant.http.get(f"/v1/files/{check['mended_file']}").json()
    assert (mended["rows"], mended["kind"], mended["purpose"]) == (13, "chat", "fine-tune")
    assert mended["filename"] == "train.mended.jsonl"
    assert mended["lineage"] == {
        "type": "check",
        "task": check["id"],
        "file": file_id,
        "validation_file": other,
        "left_out": 2,
    }
    content = tenant.http.get(f"/v1/files/{mended['id']}/content").content
    assert content == lines(*rows[:5], *rows[6:])
    assert tenant.create_job(training_file=mended["id"])["training_file"] == mended["id"]


def test_a_mended_copy_outlives_its_check(api: Api, tenant: Tenant) -> None:
    rows = numbered(11)
    file_id = tenant.upload(lines(*rows, rows[0]))
    check = checked(api, tenant, file_id, mend=True)
    tenant.http.delete(f"/v1/files/{file_id}")
    clean(api, GRACE_OVER)
    with api.sessions() as session:
        assert session.get_one(Task, check["id"]).report is None
    assert tenant.http.get(f"/v1/files/{check['mended_file']}/content").content == lines(*rows)
    tenant.http.delete(f"/v1/files/{check['mended_file']}")


def test_a_copy_that_would_be_no_better_is_not_made(api: Api, tenant: Tenant) -> None:
    whole = checked(api, tenant, tenant.upload(lines(*numbered(12))), mend=True)
    assert (whole["mended_file"], whole["status"]) == (None, "succeeded")
    assert "no row that a mended copy would leave out" in whole["report"]["not_mended"]
    broken = tenant.upload(lines(*numbered(2), *numbered(1)) + b"{}\n", purpose="user_data")
    assert "1 rows are not rows" in checked(api, tenant, broken, mend=True)["report"]["not_mended"]


def test_a_check_reads_a_limited_number_of_rows(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.tasks.datasets.checking.MOST_ROWS", 22)
    file_id = tenant.upload(lines(*numbered(12)))
    assert checked(api, tenant, file_id)["status"] == "succeeded"
    check = checked(api, tenant, file_id, validation_file=tenant.upload(lines(*numbered(11, 20))))
    assert (check["status"], check["error"]["code"]) == ("failed", "too_many_rows")


@pytest.fixture(scope="module")
def tokenizer(api: Api) -> Any:
    """Return the tokenizer of the base model, as it is when it was fetched from the hub."""
    template, special, _ = FAMILIES["chatml"]
    refuses = "{% for m in messages if m.content == 'refuse me' %}{{ raise_exception('no') }}{% endfor %}"
    tokenizer = bytes_with(refuses + template, (*special, MARK))
    tokenizer.save_pretrained(api.settings.models_folder / BASE_MODEL / "main.tokenizer")
    return tokenizer


def test_under_a_base_model_tokens_are_counted_as_training_counts_them(
    api: Api, tenant: Tenant, tokenizer: Any
) -> None:
    rows = [
        *numbered(10),
        row("word " * 200),
        {"messages": [{"role": "user", "content": "x" * 600}, {"role": "assistant", "content": "y"}]},
        row(f"before {MARK} behind"),
        row("refuse me"),
    ]
    file_id = tenant.upload(lines(*rows))
    check = checked(api, tenant, file_id, model=BASE_MODEL)
    assert check["request"]["max_length"] == 512
    found = codes(check)
    assert {code: found.get(code) for code in ("row_cut", "answer_cut", "control_token")} == {
        "row_cut": 1,
        "answer_cut": 1,
        "control_token": 1,
    }
    rendering = Rendering(tokenizer, 512, "file")
    trained = [rendering.conversations(0, each)[0].tokens for each in rows[:13]]
    lengths = check["report"]["lengths"]
    assert (lengths["measured_rows"], lengths["longest"]) == (13, max(trained))
    messages = {each["code"]: each for each in check["report"]["findings"]}
    assert messages["row_cut"]["message"].startswith(f"the row has {trained[10]:,} tokens, of which 512")
    assert (messages["refused_by_template"]["line"], messages["answer_cut"]["line"]) == (14, 12)
    assert sum(each["rows"] for each in lengths["histogram"]) == 14


def test_estimates_are_exact_once_a_check_has_measured_all_rows(
    api: Api, tenant: Tenant, tokenizer: Any
) -> None:
    unlearnt = {"messages": [{"role": "user", "content": "x" * 600}, {"role": "assistant", "content": "y"}]}
    rows = [*numbered(12), row("word " * 200), unlearnt]
    file_id = tenant.upload(lines(*rows))
    checked(api, tenant, file_id, model=BASE_MODEL)
    trained = list(Rendering(tokenizer, 512, "file").render(enumerate(rows, 1)))
    assert len(trained) == 13
    body = {"model": BASE_MODEL, "training_file": file_id, "hyperparameters": {"n_epochs": 1}}
    tokens = tenant.http.post("/v1/fine_tuning/estimates", json=body).json()["tokens"]
    assert tokens["exact"]
    assert tokens["count"] == sum(len(each.tokens_L) for each in trained)
    assert tokens["longest_row"] == 512


def test_prompts_are_measured_whole_and_those_that_are_too_long_are_not_counted(
    api: Api, tenant: Tenant, tokenizer: Any
) -> None:
    rows = [{"messages": [{"role": "user", "content": "x" * (n + 1)}], "n": n} for n in (*range(12), 600)]
    file_id = tenant.upload(lines(*rows))
    check = checked(api, tenant, file_id, model=BASE_MODEL)
    (found,) = (each for each in check["report"]["findings"] if each["code"] == "prompt_too_long")
    rendering = Rendering(tokenizer, 512, "file", "prompt")
    lengths = [rendering.conversations(0, each)[0].tokens for each in rows]
    assert found["line"] == 13
    assert f"the prompt has {lengths[-1]:,} tokens, more than 512" in found["message"]
    with api.sessions() as session:
        count = session.scalars(select(TokenCount).where(TokenCount.file_id == file_id)).one()
    assert (count.rendering, count.rows, count.tokens) == ("prompt", 12, sum(lengths[:-1]))


def test_rows_beyond_the_measured_ones_are_estimated_with_their_ratio(
    api: Api, tenant: Tenant, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.tasks.datasets.measuring.MEASURED_ROWS", 4)
    monkeypatch.setattr("worker.tasks.datasets.measuring.BATCH_ROWS", 2)
    rows = [*numbered(12), *[row("word " * 200 + str(n)) for n in range(5)]]
    lengths = checked(api, tenant, tenant.upload(lines(*rows)), model=BASE_MODEL)["report"]["lengths"]
    assert lengths["measured_rows"] == 8, "four at the begin, and four of those near the limit"
    assert 0.1 < lengths["bytes_per_token"] < 1, "a token is a byte, and the template adds some"


def test_what_a_request_names_must_exist(api: Api, tenant: Tenant) -> None:
    file_id, path = tenant.upload(), "/v1/files/{}/check"
    refusal(tenant.http.post(path.format("file-" + "0" * 32)), 404, "id", "file_not_found")
    for body, param, code in (
        ({"validation_file": "file-" + "0" * 32}, "validation_file", "invalid_file_id"),
        ({"validation_file": api.tenant().upload()}, "validation_file", "invalid_file_id"),
        ({"model": "no-such-model"}, "model", "model_not_found"),
        ({"validation_file": file_id}, "validation_file", "same_file"),
        ({"max_length": 0}, "max_length", None),
        ({"model": BASE_MODEL, "max_length": 513}, "max_length", "invalid_value"),
        ({"mended": True}, "mended", None),
    ):
        refusal(tenant.http.post(path.format(file_id), json=body), 400, param, code)
    assert tenant.http.get(at(file_id)).json()["data"] == []


def test_a_deleted_file_takes_its_checks_along(api: Api, tenant: Tenant) -> None:
    file_id = tenant.upload()
    tenant.http.post(f"/v1/files/{file_id}/check")
    assert tenant.http.delete(f"/v1/files/{file_id}").status_code == 200
    refusal(tenant.http.get(at(file_id)), 404, "id")
    with api.sessions.begin() as session:
        assert leases.take(session, "a process", ("check",)) is None


def test_a_file_that_expires_takes_its_checks_along(api: Api, tenant: Tenant) -> None:
    file_id = tenant.upload()
    check = checked(api, tenant, file_id)
    delete_files(api.sessions, File.id == file_id)
    with api.sessions() as session:
        assert session.get_one(Task, check["id"]).deleted_at is not None


def test_nul_in_a_row_stays_out_of_the_report(api: Api, tenant: Tenant) -> None:
    check = checked(api, tenant, tenant.upload(lines(*[row("a\0b") for _ in range(12)])))
    assert check["report"]["answers"] == [{"answer": "a\N{REPLACEMENT CHARACTER}b", "rows": 12}]


def test_a_validation_file_that_is_deleted_meanwhile_fails_the_check(api: Api, tenant: Tenant) -> None:
    file_id, other = tenant.upload(), tenant.upload()
    check_id = tenant.http.post(f"/v1/files/{file_id}/check", json={"validation_file": other}).json()["id"]
    tenant.http.delete(f"/v1/files/{other}")
    work_on(api, take(api, check_id))
    check = tenant.http.get(f"{at(file_id)}/{check_id}").json()
    assert (check["status"], check["error"]["param"]) == ("failed", "validation_file")


def test_bytes_that_are_damaged_or_gone_fail_the_check(api: Api, tenant: Tenant) -> None:
    file_id = tenant.upload()
    with api.sessions() as session:
        key = session.get_one(File, file_id).object_key
    api.store.put_bytes(key, lines(*numbered(12)))
    assert checked(api, tenant, file_id)["error"]["code"] == "damaged_file"
    api.store.delete(key)
    assert checked(api, tenant, file_id)["error"]["code"] == "file_not_found"


def test_an_attempt_that_dies_leaves_no_file(api: Api, tenant: Tenant) -> None:
    rows = numbered(11)
    file_id = tenant.upload(lines(*rows, rows[0]))
    check_id = tenant.http.post(f"/v1/files/{file_id}/check", json={"mend": True}).json()["id"]
    dead = take(api, check_id)
    api.store.put_bytes(task_prefix("check", check_id, dead.attempt) + "dataset.jsonl", b"half")
    with api.sessions.begin() as session:
        leases.release(session, dead, 0.0)
    work_on(api, take(api, check_id))
    check = tenant.http.get(f"{at(file_id)}/{check_id}").json()
    assert tenant.http.get(f"/v1/files/{check['mended_file']}/content").content == lines(*rows)
    tenant.http.delete(f"/v1/files/{file_id}")
    clean(api, GRACE_OVER)
    assert api.store.list(f"checks/{check_id}/") == [
        key for key in api.store.list(f"checks/{check_id}/") if dead.attempt not in key
    ]
