"""POST /v1/files/from_completions: which rows each kind of dataset gets, the lineage, and the memory."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from openai.types import FileObject
from sqlalchemy import event, insert

from api.admission.fair_share import AT_ONCE
from api.admission.store_threads import UPLOAD_THREADS
from api.http import paging
from api.stored_completions.dataset import ROWS_AT_ONCE
from core.ids import new_id
from core.storage.object_store import ObjectWriter
from core.tables import StoredCompletion
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal, strictly
from tests.fixtures.service.janitor import clean
from tests.fixtures.work.completions import allow, rate, store

FILES = "/v1/files/from_completions"
USER = {"role": "user", "content": "hi"}


@pytest.fixture
def team(api: Api) -> Tenant:
    tenant = api.tenant()
    allow(tenant)
    return tenant


def make(tenant: Tenant, **body: Any) -> dict[str, Any]:
    answer = tenant.http.post(FILES, json=body)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def rows(tenant: Tenant, file: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in tenant.openai.files.content(file["id"]).text.splitlines()]


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_a_chat_file_has_what_was_not_refused_and_what_was_corrected(team: Tenant) -> None:
    store(team, "plain")
    rate(team, store(team, "good"), rating="up")
    rate(team, store(team, "bad"), rating="down")
    rate(team, store(team, "poor"), rating="down", corrected_answer="mended")
    store(team, "cut", finish_reason="length")
    file = make(team, filename="traffic.jsonl")
    assert strictly(FileObject, file).purpose == "fine-tune"
    assert (file["filename"], file["kind"], file["rows"]) == ("traffic.jsonl", "chat", 3)
    answers = ("plain", "good", "mended")
    assert rows(team, file) == [{"messages": [USER, said(answer)]} for answer in answers]
    assert file["lineage"] == {
        "type": "stored_completions",
        "selection": {"kind": "chat"},
        "completions": 5,
        "left_out": {"rating": 1, "cut_off": 1},
    }
    assert team.http.get(f"/v1/files/{file['id']}").json() == file


def test_a_preference_file_pairs_corrections_and_ratings_of_the_same_messages(team: Tenant) -> None:
    rate(team, store(team, "poor", "one"), corrected_answer="mended")
    rate(team, store(team, "liked", "two"), rating="up")
    rate(team, store(team, "disliked", "two"), rating="down")
    rate(team, store(team, "alone", "three"), rating="down")
    store(team, "unrated", "two")
    file = make(team, kind="preference")
    pairs = [
        (row["input"]["messages"][0]["content"], row["preferred_output"], row["non_preferred_output"])
        for row in rows(team, file)
    ]
    assert pairs == [
        ("one", [said("mended")], [said("poor")]),
        ("two", [said("liked")], [said("disliked")]),
    ]
    assert (file["kind"], file["lineage"]["completions"]) == ("preference", 4)


def test_a_labelled_file_has_every_judged_answer(team: Tenant) -> None:
    rate(team, store(team, "good"), rating="up")
    rate(team, store(team, "bad"), rating="down")
    rate(team, store(team, "poor"), corrected_answer="mended")
    store(team, "unrated")
    file = make(team, kind="labelled")
    labelled = [(row["messages"][-1]["content"], row["label"]) for row in rows(team, file)]
    assert labelled == [("good", True), ("bad", False), ("mended", True), ("poor", False)]
    assert file["kind"] == "labelled"


def test_a_file_of_prompts_has_what_was_asked_and_corrections_for_graders(team: Tenant) -> None:
    earlier = [USER, said("hello"), {"role": "user", "content": "2 + 3"}]
    store(team, "6", messages=earlier)
    rate(team, store(team, "bad"), corrected_answer="mended")
    store(team, "cut", finish_reason="length")
    file = make(team, kind="prompt")
    assert rows(team, file) == [
        {"messages": earlier},
        {"messages": [USER], "reference": "mended"},
        {"messages": [USER]},
    ]
    assert (file["kind"], file["rows"]) == ("prompt", 3)


def test_a_selection_narrows_by_model_metadata_rating_and_time(team: Tenant) -> None:
    rate(team, store(team, "chosen", metadata={"topic": "a", "n": "1"}), rating="up")
    rate(team, store(team, "model", model="other", metadata={"topic": "a"}), rating="up")
    rate(team, store(team, "metadata", metadata={"topic": "b"}), rating="up")
    store(team, "rating", metadata={"topic": "a"})
    chosen = {"model": BASE_MODEL, "metadata": {"topic": "a"}, "rating": "up"}
    file = make(team, **chosen, start_time=1_700_000_000)
    assert [row["messages"][-1]["content"] for row in rows(team, file)] == ["chosen"]
    assert file["lineage"]["selection"] == {"kind": "chat", **chosen, "start_time": 1_700_000_000}
    refusal(team.http.post(FILES, json={**chosen, "end_time": 1_700_000_000}), 400, None, "no_rows")


def test_what_no_dataset_takes_is_left_out_with_its_reason(team: Tenant) -> None:
    store(team, message={"role": "assistant", "content": None, "refusal": "No."})
    store(team, "")
    store(team, "fine")
    file = make(team)
    assert file["rows"] == 1
    assert file["lineage"]["left_out"] == {"unsupported": 1, "empty": 1}


def test_a_call_of_a_tool_is_an_answer_to_learn(team: Tenant) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    store(team, message=said, finish_reason="tool_calls")
    (row,) = rows(team, make(team))
    assert row["messages"][-1] == {"role": "assistant", "tool_calls": [call]}


def test_a_selection_without_rows_says_why_and_leaves_nothing(team: Tenant) -> None:
    rate(team, store(team), rating="down")
    error = refusal(team.http.post(FILES, json={}), 400, None, "no_rows")
    assert "1 for 'rating'" in error["message"]
    assert team.http.get("/v1/files").json()["data"] == []


def test_the_file_trains_a_job(team: Tenant, adapter_folder: Path) -> None:
    for number in range(10):
        store(team, f"answer {number}")
    job = team.create_job(training_file=make(team)["id"])
    assert job["status"] == "queued"


def test_a_repeated_request_makes_one_file(team: Tenant) -> None:
    store(team)
    headers = {"idempotency-key": "once"}
    first, again = (team.http.post(FILES, json={}, headers=headers).json() for _ in range(2))
    assert first == again
    assert len(team.http.get("/v1/files").json()["data"]) == 1


def test_the_quota_of_files_counts_it_and_leaves_nothing_beyond(team: Tenant) -> None:
    store(team, "x" * 1000)
    allow(team, stored_bytes=500)
    clean(team.api)
    before = team.api.store.list("files/")
    refusal(team.http.post(FILES, json={}), 429, "file", "insufficient_quota")
    clean(team.api)
    assert team.api.store.list("files/") == before


def test_other_projects_completions_are_in_no_file(team: Tenant, bob: Tenant) -> None:
    store(team, "secret")
    rate(team, store(team, "liked", "shared words"), rating="up")
    allow(bob)
    rate(bob, store(bob, "disliked", "shared words"), rating="down")
    refusal(bob.http.post(FILES, json={"kind": "preference"}), 400, None, "no_rows")


def test_a_file_is_made_a_few_completions_at_a_time(team: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """No query returns more than a page's bytes, and no connection is held while the store is written to."""
    monkeypatch.setattr(paging, "PAGE_BYTES", 3000)
    for number in range(9):
        store(team, f"{number}" + "x" * 1000)
    loaded: list[int] = []
    held: list[int] = []
    engine = team.api.app.state.engine

    def note(*_: Any) -> None:
        loaded.append(1)

    def write(self: Any, chunk: bytes) -> None:
        held.append(engine.pool.checkedout())
        written(self, chunk)

    written = ObjectWriter.write
    monkeypatch.setattr(ObjectWriter, "write", write)
    event.listen(engine, "before_cursor_execute", note)
    try:
        file = make(team)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert file["rows"] == 9
    assert [row["messages"][-1]["content"][0] for row in rows(team, file)] == list("012345678")
    assert len(loaded) > 6
    assert set(held) == {0}


def test_files_of_one_project_leave_threads_to_the_uploads_of_others(
    team: Tenant, bob: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store takes no row of the files meanwhile, so each file that writes one keeps its thread."""
    store(team, "a slow row")
    written, writing, go = ObjectWriter.write, threading.Semaphore(0), threading.Event()

    def write(self: Any, chunk: bytes) -> None:
        if b"a slow row" in chunk:
            writing.release()
            assert go.wait(60)
        written(self, chunk)

    monkeypatch.setattr(ObjectWriter, "write", write)
    with ThreadPoolExecutor(2 * UPLOAD_THREADS + 1) as pool:
        asked = [pool.submit(make, team) for _ in range(2 * UPLOAD_THREADS)]
        try:
            assert all(writing.acquire(timeout=60) for _ in range(AT_ONCE))
            for _ in range(UPLOAD_THREADS):
                pool.submit(bob.upload).result(timeout=20)
        finally:
            go.set()
        assert {each.result()["rows"] for each in asked} == {1}


@pytest.mark.exhaustive
def test_many_files_of_one_project_leave_threads_to_the_uploads_of_others(team: Tenant) -> None:
    """None of the completions gives a row, so each file only reads pages."""
    with team.api.sessions.begin() as session:
        request = {"messages": [USER]}
        answer = {"choices": [{"message": said("no"), "finish_reason": "stop"}]}
        one: dict[str, Any] = {"project_id": team.project_id, "model": BASE_MODEL, "answer": answer}
        one |= {
            "request": request,
            "prompt_sha256": "0",
            "client_metadata": {},
            "rating": "down",
            "bytes": 100,
        }
        ids = [{"id": new_id("chatcmpl-")} for _ in range(4 * ROWS_AT_ONCE)]
        session.execute(insert(StoredCompletion), [one | each for each in ids])
    threads, are_left = team.api.app.state.upload_threads, []
    with ThreadPoolExecutor(2 * UPLOAD_THREADS) as pool:
        asked = [pool.submit(team.http.post, FILES, json={}, timeout=120) for _ in range(2 * UPLOAD_THREADS)]
        while wait(asked, 0.01).not_done:
            are_left.append(threads.available_tokens > 0)
    assert {refusal(each.result(), 400, None, "no_rows")["code"] for each in asked} == {"no_rows"}
    assert sum(are_left) > 0.8 * len(are_left)
