"""Stored completions by the official client and over HTTP: list, read, rate, delete, quota."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionDeleted
from sqlalchemy import func, select

from core.serving.stored_completions import MAX_BYTES
from core.tables import CompletionBytes, StoredCompletion
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal, strictly
from tests.fixtures.work.completions import allow, rate, store

COMPLETIONS = "/v1/chat/completions"


@pytest.fixture
def team(api: Api) -> Tenant:
    tenant = api.tenant()
    allow(tenant)
    return tenant


def counted(tenant: Tenant) -> int:
    """Return the bytes that count in the quota. They must be those of the rows."""
    with tenant.api.sessions() as session:
        of_project = StoredCompletion.project_id == tenant.project_id
        rows = session.scalar(select(func.coalesce(func.sum(StoredCompletion.bytes), 0)).where(of_project))
        count = session.get(CompletionBytes, tenant.project_id)
    assert (count.bytes if count else 0) == rows
    return int(rows)


def test_a_stored_completion_is_read_as_it_was_answered(team: Tenant) -> None:
    completion_id = store(team, "yes", temperature=0.5, user="u1", metadata={"topic": "x"}, tools=None)
    shown = team.http.get(f"{COMPLETIONS}/{completion_id}").json()
    completion = strictly(ChatCompletion, shown)
    assert completion.choices[0].message.content == "yes"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 5
    assert (shown["temperature"], shown["input_user"], shown["request_id"]) == (0.5, "u1", "req_1")
    assert (shown["metadata"], shown["requested_model"]) == ({"topic": "x"}, BASE_MODEL)
    assert team.openai.chat.completions.retrieve(str(completion_id)).id == completion_id


def test_the_official_client_lists_by_model_metadata_and_order(team: Tenant) -> None:
    ids = [store(team, metadata={"n": str(n % 2)}, model=f"model-{n % 3}") for n in range(6)]
    listing = team.openai.chat.completions.list

    def listed(**options: Any) -> list[str]:
        return [completion.id for completion in listing(limit=2, **options)]

    assert listed() == ids
    assert listed(order="desc") == ids[::-1]
    assert listed(metadata={"n": "1"}) == ids[1::2]
    assert listed(model="model-1") == [ids[1], ids[4]]
    assert listed(after=ids[3]) == ids[4:]
    assert listed(model="unheard-of") == []
    nothing = team.openai.chat.completions.list(limit=0)
    assert (nothing.data, nothing.has_more) == ([], True)


def test_the_messages_of_a_completion_are_listed_in_order(team: Tenant) -> None:
    parts = [{"type": "text", "text": "b"}]
    asked = [{"role": "system", "content": "a"}, {"role": "user", "content": parts, "name": "Eve"}]
    asked += [{"role": "assistant", "content": "c"}, {"role": "user", "content": "d"}]
    completion_id = str(store(team, messages=asked))
    messages = team.openai.chat.completions.messages
    listed = list(messages.list(completion_id, limit=1))
    assert [message.id for message in listed] == [f"{completion_id}-{index}" for index in range(4)]
    assert [message.content for message in listed] == ["a", None, "c", "d"]
    assert [message.content_parts is None for message in listed] == [True, False, True, True]
    backwards = [message.content for message in messages.list(completion_id, limit=3, order="desc")]
    assert backwards == ["d", "c", None, "a"]
    assert messages.list(completion_id, limit=0).data == []
    refusal(team.http.get(f"{COMPLETIONS}/{completion_id}/messages", params={"after": "x"}), 400, "after")


def test_metadata_is_replaced_and_a_completion_deleted(team: Tenant) -> None:
    completion_id = str(store(team, metadata={"old": "1"}))
    client = team.openai.chat.completions
    assert client.update(completion_id, metadata={"new": "2"}).to_dict()["metadata"] == {"new": "2"}
    assert [found.id for found in client.list(metadata={"new": "2"})] == [completion_id]
    assert client.update(completion_id, metadata=None).to_dict()["metadata"] == {}
    deleted = team.http.delete(f"{COMPLETIONS}/{completion_id}").json()
    assert strictly(ChatCompletionDeleted, deleted).deleted
    with pytest.raises(openai.NotFoundError):
        client.retrieve(completion_id)
    refusal(team.http.delete(f"{COMPLETIONS}/{completion_id}"), 404, "completion_id")
    assert counted(team) == 0


def test_a_rating_is_set_replaced_and_removed(team: Tenant) -> None:
    completion_id = store(team)
    rated = rate(team, completion_id, rating="down", corrected_answer="better")
    strictly(ChatCompletion, rated)
    assert (rated["rating"], rated["corrected_answer"]) == ("down", "better")
    assert rated["rated_at"]
    assert listed(team, rating="down") == [completion_id]
    assert rate(team, completion_id, rating="up")["corrected_answer"] is None
    assert (listed(team, rating="down"), listed(team, rating="none")) == ([], [])
    assert rate(team, completion_id)["rated_at"] is None
    assert listed(team, rating="none") == [completion_id]
    refusal(team.http.post(f"{COMPLETIONS}/{completion_id}/rating", json={"rating": "so-so"}), 400, "rating")
    counted(team)


def listed(tenant: Tenant, **parameters: Any) -> list[str]:
    return [entry["id"] for entry in tenant.http.get(COMPLETIONS, params=parameters).json()["data"]]


def test_a_span_of_time_is_listed(team: Tenant) -> None:
    completion_id = store(team)
    created = team.http.get(f"{COMPLETIONS}/{completion_id}").json()["created"]
    assert listed(team, start_time=created - 5, end_time=created + 5) == [completion_id]
    assert listed(team, start_time=created + 5) == listed(team, end_time=created - 5) == []


def test_a_project_that_may_store_nothing_gets_its_answer_and_is_told_why_nothing_is_kept(api: Api) -> None:
    tenant = api.tenant()
    assert store(tenant, room=0) is None
    error = refusal(tenant.http.get(f"{COMPLETIONS}/chatcmpl-1"), 404, "completion_id")
    assert "completion_bytes" in error["message"]


def test_what_exceeds_the_quota_is_not_stored_and_what_is_deleted_makes_room(team: Tenant) -> None:
    first = store(team, "x" * 1000, room=2000)
    assert first is not None
    assert store(team, "x" * 1000, room=2000) is None
    assert 1000 < counted(team) < 2000
    team.openai.chat.completions.delete(first)
    assert store(team, "x" * 1000, room=2000) is not None
    assert store(team, "x" * MAX_BYTES, room=100 * MAX_BYTES) is None


def test_a_change_that_exceeds_the_quota_is_refused(team: Tenant) -> None:
    completion_id = store(team, "x" * 1000)
    allow(team, completion_bytes=1500)
    long = {"corrected_answer": "y" * 1000}
    refusal(team.http.post(f"{COMPLETIONS}/{completion_id}/rating", json=long), 429, None)
    assert team.http.get(f"{COMPLETIONS}/{completion_id}").json()["rated_at"] is None
    allow(team, completion_bytes=5000)
    rate(team, completion_id, **long)
    allow(team, completion_bytes=1)
    rate(team, completion_id, rating="up")  # what shrinks always fits
    counted(team)


def test_of_many_at_once_no_more_are_stored_than_fit(team: Tenant) -> None:
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda _: store(team, "x" * 1000, room=5000), range(16)))
    kept = [completion_id for completion_id in stored if completion_id]
    assert len(kept) == 3
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda completion_id: team.http.delete(f"{COMPLETIONS}/{completion_id}"), kept * 2))
    assert counted(team) == 0


def test_an_answer_with_a_nul_can_be_stored(team: Tenant) -> None:
    strange = "\x00 \u2028 é"
    completion_id = store(team, strange, prompt="\x00")
    answer: httpx.Response = team.http.get(f"{COMPLETIONS}/{completion_id}")
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == strange
