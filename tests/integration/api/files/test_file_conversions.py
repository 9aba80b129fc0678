"""Conversions of files through the API, and what an upload of another format is told."""

import gzip
import json
from typing import Any

import pytest

from core.tables import Project, Task
from tests.fixtures.rows.parquet import parquet
from tests.fixtures.rows.tool_rows import tool_row
from tests.fixtures.service.api import Api, Tenant, refusal
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.work.file_tasks import checked, converted, work_on
from tests.fixtures.work.taking import take
from worker.supervisor.emptying import NO_ERROR_ANY_MORE

ALPACA = [{"instruction": f"Double {n}", "input": "", "output": str(2 * n)} for n in range(12)]


@pytest.fixture
def tenant(api: Api) -> Tenant:
    return api.tenant()


def at(file_id: str) -> str:
    return f"/v1/files/{file_id}/conversions"


def uploaded(tenant: Tenant, rows: Any = ALPACA, name: str = "demo.json") -> str:
    return tenant.upload(json.dumps(rows).encode(), purpose="user_data", name=name)


def test_a_converted_file_trains_and_names_where_it_comes_from(api: Api, tenant: Tenant) -> None:
    file_id = uploaded(tenant)
    made = converted(api, tenant, file_id)
    assert (made["status"], made["error"], made["file_id"]) == ("succeeded", None, file_id)
    report = made["report"]
    assert (report["container"], report["format"], report["rows"], report["kind"]) == (
        "json_array",
        "alpaca",
        12,
        "chat",
    )
    assert [row["messages"][1]["content"] for row in report["examples"]] == ["0", "2", "4"]
    file = tenant.http.get(f"/v1/files/{made['converted_file']}").json()
    assert (file["filename"], file["purpose"], file["rows"]) == ("demo.converted.jsonl", "fine-tune", 12)
    assert file["lineage"] == {
        "type": "conversion",
        "task": made["id"],
        "file": file_id,
        "container": "json_array",
        "format": "alpaca",
    }
    content = tenant.http.get(f"/v1/files/{file['id']}/content").text.splitlines()
    assert json.loads(content[3])["messages"] == [
        {"role": "user", "content": "Double 3"},
        {"role": "assistant", "content": "6"},
    ]
    tenant.create_job(training_file=file["id"])
    (listed,) = tenant.http.get(at(file_id)).json()["data"]
    assert (listed["id"], listed["converted_file"]) == (made["id"], made["converted_file"])
    assert "report" not in listed


def test_the_new_file_may_have_a_name(api: Api, tenant: Tenant) -> None:
    made = converted(api, tenant, uploaded(tenant), filename="a/\ttrain.jsonl")
    assert tenant.http.get(f"/v1/files/{made['converted_file']}").json()["filename"] == "train.jsonl"


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (
            json.dumps([*ALPACA, {"instruction": "a"}]),
            "invalid_file_format",
            "Row 13, output: must be a text",
        ),
        ('{"a": 1}\n', "unknown_format", "The first row ('a') is of no known form"),
        ("[]", "empty_file", "The file has no rows"),
        ('[{"text": "a"},\n', "invalid_json", "Row 2: The JSON array does not end"),
    ],
)
def test_what_cannot_be_converted_says_why(
    api: Api, tenant: Tenant, content: str, code: str, message: str
) -> None:
    made = converted(api, tenant, tenant.upload(content.encode(), purpose="user_data"))
    assert (made["status"], made["converted_file"], made["error"]["code"]) == ("failed", None, code)
    assert message.lower() in made["error"]["message"].lower()


def test_the_error_of_a_deleted_files_conversion_quotes_its_rows_no_longer(api: Api, tenant: Tenant) -> None:
    file_id = tenant.upload(b'{"secret": 1}\n', purpose="user_data")
    made = converted(api, tenant, file_id)
    assert "secret" in made["error"]["message"]
    tenant.http.delete(f"/v1/files/{file_id}")
    clean(api, GRACE_OVER)
    with api.sessions() as session:
        task = session.get_one(Task, made["id"])
        assert (task.status, task.request, task.error) == ("failed", {}, NO_ERROR_ANY_MORE)


def test_a_bomb_ends_in_a_clear_error(api: Api, tenant: Tenant) -> None:
    bomb = gzip.compress(
        b'{"text": "a"}\n' + (b" " * 999 + b"\n") * (api.settings.max_file_bytes // 1000 + 1), 1
    )
    made = converted(api, tenant, tenant.upload(bomb, purpose="user_data"))
    assert made["error"]["code"] == "too_large_expanded"
    assert "split it" in made["error"]["message"]


@pytest.mark.parametrize(
    ("settings", "code"),
    [({"max_file_bytes": 500}, "file_too_large"), ({"max_training_rows": 11}, "too_many_rows")],
)
def test_what_becomes_too_large_is_not_made(
    api: Api, tenant: Tenant, settings: dict[str, int], code: str
) -> None:
    file_id = tenant.upload(b"q||a\n" * 12, purpose="user_data")
    made_id = tenant.http.post(f"/v1/files/{file_id}/convert").json()["id"]
    work_on(api, take(api, made_id), **settings)
    made = tenant.http.get(f"{at(file_id)}/{made_id}").json()
    assert (made["status"], made["converted_file"], made["error"]["code"]) == ("failed", None, code)
    assert "split" in made["error"]["message"].lower()


def test_a_converted_file_must_fit_into_the_quota(api: Api, tenant: Tenant) -> None:
    file_id = tenant.upload(b"q||a\n" * 12, purpose="user_data")
    with api.sessions.begin() as session:
        session.get_one(Project, tenant.project_id).max_stored_bytes = 500
    made = converted(api, tenant, file_id)
    assert (made["converted_file"], made["error"]["code"]) == (None, "insufficient_quota")
    clean(api, GRACE_OVER)
    assert api.store.list(f"conversions/{made['id']}/") == []
    assert len(tenant.http.get("/v1/files").json()["data"]) == 1


def test_a_file_of_another_format_is_checked_as_it_would_be_converted(api: Api, tenant: Tenant) -> None:
    file_id = uploaded(tenant, [*ALPACA, ALPACA[0]])
    check = checked(api, tenant, file_id, mend=True)
    assert (check["report"]["format"], check["report"]["container"]) == ("alpaca", "json_array")
    assert {each["code"]: each["count"] for each in check["counts"]}["exact_duplicate"] == 1
    assert check["report"]["examples"][0]["messages"][0]["content"] == "Double 0"
    content = tenant.http.get(f"/v1/files/{check['mended_file']}/content").text
    assert [json.loads(row)["messages"][1]["content"] for row in content.splitlines()] == [
        str(2 * n) for n in range(12)
    ]


def test_parquet_with_tools_becomes_rows_that_a_job_takes(api: Api, tenant: Tenant) -> None:
    content = parquet({key: [value] * 3 for key, value in tool_row().items()} | {"id": [1, 2, 3]})
    file = tenant.upload(content, purpose="user_data", name="rows.parquet")
    conversion = converted(api, tenant, file)
    assert conversion["status"] == "succeeded", conversion
    report = conversion["report"]
    assert (report["container"], report["format"], report["rows"]) == ("parquet", "chat", 3)
    asked, called, *others = tool_row()["messages"]
    assert report["examples"][0]["messages"] == [asked, {**called, "content": None}, *others]


def test_a_damaged_parquet_file_fails_with_what_to_do(api: Api, tenant: Tenant) -> None:
    file = tenant.upload(parquet({"text": ["a"] * 9})[:-40], purpose="user_data", name="rows.parquet")
    conversion = converted(api, tenant, file)
    assert (conversion["status"], conversion["error"]["code"]) == ("failed", "damaged_parquet")
    assert "write it again" in conversion["error"]["message"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b'{"prompt": "Capital of Peru?", "completion": "Lima."}\n', "rows of prompt and completion"),
        (json.dumps(ALPACA).encode(), "Alpaca instructions in a JSON array"),
        (b"text,category\nRain?,weather\n", "rows of text and category in a CSV file"),
        (b"text,category\nRain?,weather\n", 'a job takes JSON lines such as {"messages": [{"role": …'),
        (gzip.compress(b'{"messages": []}', mtime=0), "compressed with gzip"),
        (b"PAR1\0\0\0\0", "The file is Parquet, and a job takes JSON lines. Convert it: "),
    ],
)
def test_an_upload_of_another_format_is_told_which_one_and_what_to_do(
    tenant: Tenant, content: bytes, named: str
) -> None:
    answer = tenant.http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a", content)})
    error = refusal(answer, 400, "file", "invalid_file_format")
    assert named in error["message"]
    assert "label" not in error["message"]
    assert [(each["line"], each["code"]) for each in error["details"]] == [(1, "other_format")]
