"""Aliases and stored completions through chats with a real server, by the official client."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.serving import TOOLS, ServerProcess, Serving
from tests.fixtures.work.completions import allow

MESSAGES: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def chats(api: Api, serving: Serving, server: ServerProcess) -> Iterator[Api]:
    """Yield an API with a server behind it."""
    keys = SecretStr(serving.secret_keys)
    with api.beside(secret_keys=keys, catalog_file=serving.catalog) as chats:
        yield chats


@pytest.fixture
def team(chats: Api) -> Tenant:
    tenant = chats.tenant()
    allow(tenant)
    return tenant


def ask(tenant: Tenant, **body: Any) -> Any:
    return tenant.openai.chat.completions.create(messages=MESSAGES, max_tokens=4, **body)


def test_an_alias_moves_chats_at_once_and_an_answer_names_its_model(team: Tenant) -> None:
    for model in (TINY, TOOLS):
        team.http.post("/v1/aliases", json={"name": "prod", "model": model})
        assert ask(team, model="prod").model == model
    assert team.http.post("/v1/aliases/prod/back").status_code == 200
    assert ask(team, model="prod").model == TINY


def test_a_canary_gives_each_user_always_the_same_model(team: Tenant) -> None:
    team.http.post("/v1/aliases", json={"name": "canary", "weights": {TINY: 1, TOOLS: 1}})
    users = [f"user-{number}" for number in range(6)]
    first = [ask(team, model="canary", user=user).model for user in users]
    assert set(first) == {TINY, TOOLS}
    assert [ask(team, model="canary", user=user).model for user in users] == first
    keys = {"Idempotency-Key": "one"}
    assert len({ask(team, model="canary", extra_headers=keys, seed=n).model for n in range(4)}) == 1


def test_chats_become_the_next_training_file(team: Tenant) -> None:
    """A whole answer and a streamed one are stored alike, by the name of the model, and make a dataset."""
    team.http.post("/v1/aliases", json={"name": "prod", "model": TINY})
    asked: dict[str, Any] = {"model": "prod", "store": True, "temperature": 0, "metadata": {"app": "x"}}
    assert ask(team, **{**asked, "store": False}).id  # the prompt of all others is in the cache from here on
    whole = ask(team, **asked)
    chunks = list(ask(team, **asked, stream=True))
    client = team.openai.chat.completions
    stored = wait_for(lambda: len(found := list(client.list(metadata={"app": "x"}))) == 2 and found)
    assert [completion.id for completion in stored] == [whole.id, chunks[0].id]
    assert {completion.model for completion in stored} == {TINY}
    assert stored[0].choices[0].message.content == stored[1].choices[0].message.content
    assert stored[0].usage == stored[1].usage == whole.usage
    assert stored[1].to_dict()["requested_model"] == "prod"
    assert [message.content for message in client.messages.list(whole.id)] == ["Hello"]
    for completion in stored:
        team.http.post(f"/v1/chat/completions/{completion.id}/rating", json={"corrected_answer": "Hi!"})
    file = team.http.post("/v1/files/from_completions", json={"kind": "chat", "model": TINY}).json()
    row = '{"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]}'
    assert team.openai.files.content(file["id"]).text.splitlines() == [row, row]


def test_a_project_that_stores_nothing_still_gets_its_answer(chats: Api) -> None:
    tenant = chats.tenant()
    assert ask(tenant, model=TINY, store=True).choices
    assert list(tenant.openai.chat.completions.list()) == []
