"""Chats and completions through the API, with OpenAI's client and a real server on a tiny model."""

import asyncio
import json
from typing import Literal

import pytest
from openai import AsyncOpenAI
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel
from tokenizers.pre_tokenizers import ByteLevel

from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api, Tenant, strictly
from tests.fixtures.service.chatting import tuned_model
from tests.fixtures.service.serving import TOOLS, ServerProcess, Serving

HELLO = [{"role": "user", "content": "Hello"}]
GREEDY = {
    "model": TINY,
    "messages": HELLO,
    "temperature": 0,
    "max_tokens": 12,
    "extra_body": {"ignore_eos": True},
}


# A model that was never trained would go on with blanks, where JSON may have any number of them
ALPHABET = sorted(ByteLevel.alphabet())
NO_BLANKS = {str(ALPHABET.index(symbol)): -100 for symbol in "ĠĊĉč"}


class Verdict(BaseModel):
    kind: Literal["good", "bad"]
    sure: bool


@pytest.fixture(scope="module", autouse=True)
def one_server(server: ServerProcess) -> ServerProcess:
    return server


@pytest.fixture(scope="module")
def tenant(chat_api: Api) -> Tenant:
    return chat_api.tenant("chatting")


def test_an_answer_has_openais_form_in_strict_validation(tenant: Tenant) -> None:
    answer = tenant.http.post(
        "/v1/chat/completions",
        json={
            **{"model": TINY, "messages": HELLO, "max_tokens": 6, "n": 2, "seed": 1},
            **{"logprobs": True, "top_logprobs": 2, "ignore_eos": True},
        },
    )
    assert answer.status_code == 200, answer.text
    completion: ChatCompletion = strictly(ChatCompletion, answer.json())
    assert completion.model == TINY
    assert [choice.finish_reason for choice in completion.choices] == ["length", "length"]
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 12
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [len(token.top_logprobs) for token in logprobs.content] == [2] * 6


def test_a_stream_has_the_same_text_as_the_whole_answer(tenant: Tenant) -> None:
    whole = tenant.openai.chat.completions.create(**GREEDY)
    chunks = list(tenant.openai.chat.completions.create(**GREEDY, stream=True))
    for chunk in chunks:
        strictly(ChatCompletionChunk, chunk.model_dump(exclude_unset=True))
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    )
    assert all(chunk.usage is None for chunk in chunks)
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_the_last_chunk_has_the_usage_if_the_client_asks_for_it(tenant: Tenant) -> None:
    whole = tenant.openai.chat.completions.create(**GREEDY)
    *chunks, last = tenant.openai.chat.completions.create(
        **GREEDY, stream=True, stream_options={"include_usage": True}
    )
    assert not last.choices
    assert last.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens == 12
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_the_async_client_and_the_streaming_helper_read_the_same(tenant: Tenant, chat_api: Api) -> None:
    whole = tenant.openai.chat.completions.create(**GREEDY).choices[0].message.content
    with tenant.openai.chat.completions.stream(**GREEDY) as stream:
        parts = [event.delta for event in stream if event.type == "content.delta"]
    assert "".join(parts) == whole

    async def ask() -> tuple[str | None, str]:
        async with AsyncOpenAI(base_url=f"{chat_api.url}/v1", api_key=tenant.key, max_retries=0) as client:
            answer = await client.chat.completions.create(**GREEDY)
            stream = await client.chat.completions.create(**GREEDY, stream=True)
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return answer.choices[0].message.content, "".join(parts)

    assert asyncio.run(ask()) == (whole, whole)


def test_an_answer_is_parsed_into_a_pydantic_model(tenant: Tenant) -> None:
    parsed = tenant.openai.chat.completions.parse(
        model=TINY, messages=HELLO, max_tokens=60, logit_bias=NO_BLANKS, response_format=Verdict
    )
    verdict = parsed.choices[0].message.parsed
    assert verdict is not None
    assert verdict.kind in ("good", "bad")


def test_a_required_tool_is_called_with_arguments_of_its_schema(tenant: Tenant) -> None:
    tool = {
        "type": "function",
        "function": {"name": "judge", "parameters": Verdict.model_json_schema(), "strict": True},
    }
    asked = {"model": TOOLS, "messages": HELLO, "max_tokens": 100, "temperature": 0}
    asked |= {"logit_bias": NO_BLANKS, "tools": [tool]}
    answer = tenant.openai.chat.completions.create(**asked, tool_choice="required")
    assert answer.choices[0].finish_reason == "tool_calls"
    called = answer.choices[0].message.tool_calls
    assert called is not None
    assert called[0].function.name == "judge"
    Verdict.model_validate_json(called[0].function.arguments)

    with tenant.openai.chat.completions.stream(**asked, tool_choice="required") as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed is not None
    assert streamed[0].function.arguments == called[0].function.arguments

    follow_up = [
        *HELLO,
        answer.choices[0].message.model_dump(exclude_unset=True),
        {"role": "tool", "tool_call_id": called[0].id, "content": "noted"},
    ]
    assert tenant.openai.chat.completions.create(model=TOOLS, messages=follow_up, tools=[tool], max_tokens=1)


def test_prompts_are_continued_with_their_log_probabilities(tenant: Tenant) -> None:
    answer = tenant.openai.completions.create(
        model=TINY, prompt=["ab", "cd"], max_tokens=2, echo=True, logprobs=1, temperature=0
    )
    strictly(Completion, answer.model_dump(exclude={"choices"}) | {"choices": []})
    assert [choice.text[:2] for choice in answer.choices] == ["ab", "cd"]
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert len(logprobs.tokens) == 4
    streamed = tenant.openai.completions.create(
        model=TINY, prompt="ab", max_tokens=2, temperature=0, stream=True
    )
    assert "ab" + "".join(chunk.choices[0].text for chunk in streamed) == answer.choices[0].text


def test_a_fine_tuned_model_answers_by_its_name_and_by_its_adapters_id(
    chat_api: Api, tenant: Tenant, serving: Serving
) -> None:
    model, adapter_id = tuned_model(chat_api, tenant, serving.adapter(seed=1))
    base = tenant.openai.chat.completions.create(**GREEDY)
    by_name, by_id = (
        tenant.openai.chat.completions.create(**{**GREEDY, "model": name}) for name in (model, adapter_id)
    )
    assert by_name.choices[0].message.content == by_id.choices[0].message.content
    assert by_name.choices[0].message.content != base.choices[0].message.content
    assert (by_name.model, by_id.model) == (model, model)


def test_the_servers_own_refusals_reach_the_client(tenant: Tenant) -> None:
    answer = tenant.http.post(
        "/v1/chat/completions", json={"model": TINY, "messages": [{"role": "user", "content": "x" * 5000}]}
    )
    assert answer.status_code == 400, answer.text
    error = json.loads(answer.text)["error"]
    assert (error["param"], error["type"]) == ("messages", "invalid_request_error")
    assert error["code"] == "context_length_exceeded"
    assert "512 tokens" in error["message"]
