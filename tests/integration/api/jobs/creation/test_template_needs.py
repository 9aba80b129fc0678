"""Files with tools: a job on a base model whose chat template has no place for them is refused at once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from core.catalog import BaseModelEntry
from core.tables import ChatTemplate, File, Job
from tests.fixtures.outside.hub_of_models import hub_with
from tests.fixtures.rows.images import about, image_part
from tests.fixtures.rows.tool_rows import ASKED, SAID, TAGGED_TEMPLATE, tool_row
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, dataset, refusal
from tests.fixtures.work.file_tasks import converted
from worker.supervisor.chat_templates import TemplateNotes

ON_HUB = "example/Never-Fetched"
PLAIN = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture
def folder(api: Api, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    yield tmp_path
    with api.sessions.begin() as session:
        session.execute(delete(ChatTemplate))


def see(api: Api, folder: Path, template: str, revision: str = "main") -> None:
    """Have a worker see the base model's template in its folder."""
    (folder / "chat_template.jinja").write_text(template)
    notes(api, folder, source="folder", path=folder, revision=revision).write()


def notes(api: Api, models: Path, **fields: object) -> TemplateNotes:
    """Return what a worker writes down of the base model, whose entry has these fields."""
    model = {"id": BASE_MODEL, "repository": ON_HUB, "revision": "main", "license": "MIT", "max_length": 64}
    return TemplateNotes(api.sessions, [BaseModelEntry.model_validate(model | fields)], models)


def events_of(tenant: Tenant, job_id: str) -> list[dict[str, Any]]:
    return list(tenant.http.get(f"/v1/fine_tuning/jobs/{job_id}/events").json()["data"])


def rows_with_tools(at: int = 4) -> bytes:
    plain = {"messages": [ASKED, SAID]}
    rows = [plain] * (at - 1) + [tool_row()] * 12
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_the_file_remembers_its_first_row_with_tools(api: Api, alice: Tenant) -> None:
    with_tools, plain = alice.upload(rows_with_tools()), alice.upload()
    with api.sessions() as session:
        assert session.get_one(File, with_tools).needs == {"tools": 4}
        assert session.get_one(File, plain).needs is None


def test_a_template_without_tools_refuses_the_job_before_it_exists(
    api: Api, alice: Tenant, folder: Path
) -> None:
    file = alice.upload(rows_with_tools())
    see(api, folder, PLAIN)
    for param, files in (
        ("training_file", {"training_file": file}),
        ("validation_file", {"training_file": alice.upload(), "validation_file": file}),
    ):
        answer = alice.http.post("/v1/fine_tuning/jobs", json={"model": BASE_MODEL, **files})
        error = refusal(answer, 400, param, "chat_template_without_tools")
        assert f"Line 4 of the {param.replace('_', ' ')} has tools" in error["message"]
        assert BASE_MODEL in error["message"]
    with api.sessions() as session:
        assert not session.query(Job).filter(Job.training_file_id == file).count()


def test_a_base_model_without_images_refuses_the_job_before_it_exists(
    api: Api, alice: Tenant, folder: Path
) -> None:
    rows = [{"messages": [ASKED, SAID]}, *[about(image_part())] * 12]
    file = alice.upload(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    see(api, folder, PLAIN)
    answer = alice.http.post("/v1/fine_tuning/jobs", json={"model": BASE_MODEL, "training_file": file})
    error = refusal(answer, 400, "training_file", "base_model_without_images")
    assert "Line 2 of the training file has an image" in error["message"]


def test_a_template_with_tools_and_a_template_that_no_worker_has_seen_take_the_job(
    api: Api, alice: Tenant, folder: Path
) -> None:
    file = alice.upload(rows_with_tools())
    assert alice.create_job(training_file=file)["status"] == "queued"
    see(api, folder, TAGGED_TEMPLATE)
    assert alice.create_job(training_file=file)["status"] == "queued"


@pytest.mark.parametrize("name", ["tokenizer_config.json", "chat_template.jinja"])
def test_a_model_of_the_hub_that_was_never_fetched_refuses_the_job_before_it_exists(
    api: Api, alice: Tenant, folder: Path, name: str
) -> None:
    file = alice.upload(rows_with_tools())
    with hub_with(ON_HUB, folder / "published"):
        (folder / "published/tokenizer_config.json").write_text("{}")
        template = PLAIN if name.endswith(".jinja") else json.dumps({"chat_template": PLAIN})
        (folder / "published" / name).write_text(template)
        notes(api, folder / "no models", source="hub").write()
    answer = alice.http.post("/v1/fine_tuning/jobs", json={"model": BASE_MODEL, "training_file": file})
    refusal(answer, 400, "training_file", "chat_template_without_tools")
    answer = alice.http.post("/v1/fine_tuning/estimates", json={"model": BASE_MODEL, "training_file": file})
    refusal(answer, 400, "training_file", "chat_template_without_tools")


def test_a_job_says_that_its_template_is_not_known_while_the_hub_is_away(
    api: Api, alice: Tenant, folder: Path
) -> None:
    file = alice.upload(rows_with_tools())
    with hub_with("example/Another", folder / "published"):
        notes(api, folder / "no models", source="hub").write()
    job = alice.create_job(training_file=file)
    told = [event for event in events_of(alice, job["id"]) if event["level"] == "warn"]
    assert [event["data"] for event in told] == [{"code": "template_not_read", "file": file}]
    assert f"the chat template of {BASE_MODEL}" in told[0]["message"]
    plain = alice.create_job(training_file=alice.upload())
    assert all(event["level"] != "warn" for event in events_of(alice, plain["id"]))


def test_what_was_fetched_counts_more_than_what_the_hub_said(api: Api, folder: Path) -> None:
    models = folder / "models"
    with hub_with(ON_HUB, folder / "published"):
        written = notes(api, models, source="hub")
        written.write()
        assert places(api) == []
        fetched = models / BASE_MODEL / "main"
        fetched.mkdir(parents=True)
        (fetched / "tokenizer_config.json").write_text(json.dumps({"chat_template": TAGGED_TEMPLATE}))
        written.write()
    assert places(api) == ["tools", "reasoning_content"]


def places(api: Api) -> list[str]:
    with api.sessions() as session:
        return session.get_one(ChatTemplate, f"{BASE_MODEL}@main").places


def test_the_template_of_another_revision_refuses_nothing(api: Api, alice: Tenant, folder: Path) -> None:
    see(api, folder, PLAIN, revision="an older one")
    assert alice.create_job(training_file=alice.upload(rows_with_tools()))["status"] == "queued"


def test_a_folder_with_another_template_is_seen_again(api: Api, alice: Tenant, folder: Path) -> None:
    see(api, folder, PLAIN)
    see(api, folder, TAGGED_TEMPLATE)
    assert places(api) == ["tools", "reasoning_content"]


def test_a_converted_file_has_the_line_of_its_own_first_row_with_tools(api: Api, alice: Tenant) -> None:
    turns = [{"from": "human", "value": "Rain?"}, {"from": "gpt", "value": "No."}]
    tools = json.dumps([{"name": "rain", "parameters": {"type": "object"}}])
    content = [{"conversations": turns, "tools": "[]"}, {"conversations": turns, "tools": tools}]
    file = alice.upload(json.dumps(content, indent=1).encode(), purpose="user_data", name="rows.json")
    conversion = converted(api, alice, file)
    assert conversion["status"] == "succeeded", conversion
    with api.sessions() as session:
        made = session.query(File).filter(File.lineage["file"].astext == file).one()
        assert made.needs == {"tools": 2}
        assert made.longest_line is not None
        assert made.bytes / 2 <= made.longest_line < made.bytes


def test_plain_files_need_nothing_of_a_template(api: Api, alice: Tenant, folder: Path) -> None:
    see(api, folder, PLAIN)
    assert alice.create_job(training_file=alice.upload(dataset(12)))["status"] == "queued"
