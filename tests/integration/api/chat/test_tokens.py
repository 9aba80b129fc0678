"""The prompt that a model gets, and its tokens, as a client may ask to see them."""

from typing import Any

import pytest

from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api, Tenant, refusal
from tests.fixtures.service.chatting import tuned_model
from tests.fixtures.service.serving import TOOLS, ServerProcess, Serving

TOKENIZE = "/v1/tokenize"
CHAT: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hëllo"}]
LOOK = {"type": "function", "function": {"name": "look"}}


@pytest.fixture(scope="module")
def tenant(chat_api: Api, server: ServerProcess) -> Tenant:
    return chat_api.tenant()


def shown(tenant: Tenant, **body: Any) -> dict[str, Any]:
    answer = tenant.http.post(TOKENIZE, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["count"] == len(found["tokens"])
    return found


def test_the_prompt_of_a_chat_is_what_the_model_reads(tenant: Tenant) -> None:
    body = {"model": TINY, "messages": CHAT, "return_token_strs": True}
    found = shown(tenant, **body)
    assert tenant.openai.post("/tokenize", body=body, cast_to=object) == found
    assert found["prompt"] == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHëllo<|im_end|>\n<|im_start|>assistant\n"
    )
    assert len(found["token_strs"]) == found["count"]
    assert "".join(found["token_strs"]).replace("\ufffd" * 2, "ë") == found["prompt"]
    assert found["max_model_len"] == 512
    answer = tenant.openai.chat.completions.create(model=TINY, messages=CHAT, max_tokens=1)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == found["count"]
    again = tenant.openai.completions.create(model=TINY, prompt=found["tokens"], max_tokens=1)
    assert again.usage is not None
    assert again.usage.prompt_tokens == found["count"]


def test_without_the_beginning_of_an_answer_the_prompt_ends_with_the_last_message(tenant: Tenant) -> None:
    found = shown(tenant, model=TINY, messages=CHAT, add_generation_prompt=False)
    assert found["prompt"].endswith("Hëllo<|im_end|>\n")
    assert found["token_strs"] is None


def test_tools_and_a_call_that_must_come_are_in_the_prompt(tenant: Tenant) -> None:
    found = shown(tenant, model=TOOLS, messages=CHAT, tools=[LOOK], tool_choice="required")
    assert '"look"' in found["prompt"]
    assert found["prompt"].endswith("<tool_call>\n")
    assert (
        '"look"' not in shown(tenant, model=TOOLS, messages=CHAT, tools=[LOOK], tool_choice="none")["prompt"]
    )
    answer = tenant.http.post(TOKENIZE, json={"model": TINY, "messages": CHAT, "tools": [LOOK]})
    refusal(answer, 400, "tools", "unsupported_parameter")


def test_a_text_is_tokenized_as_it_is_however_long(tenant: Tenant) -> None:
    found = shown(tenant, model=TINY, prompt="x" * 600)
    assert (found["count"], found["prompt"]) == (600, "x" * 600)


def test_a_fine_tuned_model_shows_its_prompt_without_being_loaded(
    chat_api: Api, tenant: Tenant, serving: Serving, server: ServerProcess
) -> None:
    model, adapter_id = tuned_model(chat_api, tenant, serving.adapter(seed=1))
    base = shown(tenant, model=TINY, messages=CHAT)
    assert shown(tenant, model=model, messages=CHAT) == shown(tenant, model=adapter_id, messages=CHAT) == base
    assert server.state()["adapters"] == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": CHAT, "prompt": "a"}, "messages"),
        ({"prompt": "a", "tools": [LOOK]}, "tools"),
        ({"messages": CHAT, "tool_choice": "required"}, "tool_choice"),
        ({"messages": [{"role": "assistant"}]}, "messages.0.content"),
        ({"messages": CHAT, "chat_template": "x"}, "chat_template"),
    ],
)
def test_a_request_that_names_no_prompt_is_refused_by_the_field(
    tenant: Tenant, body: dict[str, Any], param: str
) -> None:
    refusal(tenant.http.post(TOKENIZE, json={"model": TINY, **body}), 400, param)
