"""A server answers chats and completions in OpenAI's form, as the API asks it to."""

import json
from typing import Any

import httpx
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from core.serving.served_model import SERVED_FIELD
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import strictly
from tests.fixtures.service.serving import TOOLS, ServerProcess, chat_body, served

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "warm": {"type": "boolean"}},
    "required": ["colour", "warm"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "paint", "parameters": SCHEMA}}


def chat(server: ServerProcess, content: str = "Hello", **body: Any) -> ChatCompletion:
    answer = server.chat(content, **body)
    assert answer.status_code == 200, answer.text
    found: ChatCompletion = strictly(ChatCompletion, answer.json())
    return found


def chunks(server: ServerProcess, **body: Any) -> list[ChatCompletionChunk]:
    """Stream a chat with the official client, and return its chunks, each checked strictly."""
    body = chat_body(stream=True, **body)
    extra = {SERVED_FIELD: body.pop(SERVED_FIELD)}
    stream = server.openai.chat.completions.create(**body, extra_body=extra)
    return [strictly(ChatCompletionChunk, chunk.model_dump(exclude_unset=True)) for chunk in stream]


def complete(server: ServerProcess, prompt: Any, **body: Any) -> Completion:
    body = {
        "model": TINY,
        "prompt": prompt,
        "temperature": 0,
        "max_tokens": 6,
        SERVED_FIELD: served(),
        **body,
    }
    answer = server.http.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    found: Completion = strictly(Completion, answer.json())
    return found


def text_of(completion: ChatCompletion, index: int = 0) -> str:
    content = completion.choices[index].message.content
    assert content is not None
    return content


def refusal(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_a_chat_counts_its_tokens_and_says_why_it_ended(server: ServerProcess) -> None:
    found = chat(server, max_tokens=5)
    assert found.usage is not None
    assert found.usage.completion_tokens == 5
    assert found.usage.prompt_tokens == len("<user\nHello>\n<assistant\n")  # bytes, and marks of one token
    assert found.choices[0].finish_reason == "length"
    assert found.system_fingerprint is not None
    again = chat(server, max_tokens=5)
    assert (text_of(again), again.system_fingerprint) == (text_of(found), found.system_fingerprint)


def test_a_stream_says_the_same_as_the_whole_answer(server: ServerProcess) -> None:
    whole = chat(server, max_tokens=20, temperature=1, seed=4)
    streamed = chunks(server, max_tokens=20, temperature=1, seed=4, stream_options={"include_usage": True})
    assert streamed[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in streamed[:-1]) == text_of(whole)
    assert streamed[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert streamed[-1].choices == []
    assert streamed[-1].usage is not None
    assert whole.usage is not None
    assert streamed[-1].usage.total_tokens == whole.usage.total_tokens
    assert len({chunk.id for chunk in streamed}) == 1


def test_several_answers_differ_and_repeat_by_their_seed(server: ServerProcess) -> None:
    first, again = (chat(server, n=3, temperature=1, seed=7, max_tokens=12) for _ in range(2))
    texts = [text_of(first, index) for index in range(3)]
    assert len(set(texts)) == 3
    assert texts == [text_of(again, index) for index in range(3)]
    streamed = chunks(server, n=3, temperature=1, seed=7, max_tokens=12)
    for index, text in enumerate(texts):
        of_choice = [c.choices[0] for c in streamed if c.choices[0].index == index]
        assert "".join(choice.delta.content or "" for choice in of_choice) == text
        assert of_choice[-1].finish_reason == first.choices[index].finish_reason


def test_log_probabilities_are_those_of_the_answers_tokens(server: ServerProcess) -> None:
    found = chat(server, logprobs=True, top_logprobs=2, max_tokens=6)
    logprobs = found.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert b"".join(bytes(each.bytes or ()) for each in logprobs.content) == text_of(found).encode()
    assert all(each.top_logprobs[0].logprob == each.logprob for each in logprobs.content)
    streamed = chunks(server, logprobs=True, top_logprobs=2, max_tokens=6)
    tokens = [
        token
        for chunk in streamed
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content or ()
    ]
    assert [token.logprob for token in tokens] == pytest.approx([each.logprob for each in logprobs.content])


def test_an_answer_ends_before_a_stop_string(server: ServerProcess) -> None:
    full = text_of(chat(server, temperature=1, seed=3, max_tokens=40))
    stop = full[10:12]
    cut = chat(server, temperature=1, seed=3, max_tokens=40, stop=[stop])
    assert text_of(cut) == full[: full.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


def test_an_answer_has_the_form_of_its_schema(server: ServerProcess) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "paint", "schema": SCHEMA, "strict": True}}
    found = chat(server, response_format=wanted, max_tokens=200, temperature=1, seed=1)
    painted = json.loads(text_of(found))
    assert painted["colour"] in ("red", "blue")
    assert isinstance(painted["warm"], bool)
    assert found.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "paint"}}])
def test_a_tool_that_must_be_called_is_called(server: ServerProcess, choice: Any) -> None:
    asked = {"model": TOOLS, SERVED_FIELD: served(base=TOOLS), "tools": [TOOL], "tool_choice": choice}
    found = chat(server, **asked, max_tokens=200, temperature=1, seed=1)
    (call,) = found.choices[0].message.tool_calls or ()
    assert call.type == "function"
    assert call.function.name == "paint"
    assert json.loads(call.function.arguments)["colour"] in ("red", "blue")
    assert found.choices[0].message.content is None
    assert found.choices[0].finish_reason == "tool_calls"
    streamed = chunks(server, **asked, max_tokens=200, temperature=1, seed=1)
    (delta,) = [chunk.choices[0].delta for chunk in streamed if chunk.choices[0].delta.tool_calls]
    (piece,) = delta.tool_calls or ()
    assert piece.function is not None
    assert piece.function.arguments == call.function.arguments


def test_tools_are_refused_if_the_chat_template_has_no_place_for_them(server: ServerProcess) -> None:
    error = refusal(server.chat(tools=[TOOL]), 400)
    assert (error["param"], error["code"]) == ("tools", "unsupported_parameter")


def test_a_schema_that_cannot_be_followed_is_refused(server: ServerProcess) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/$defs/missing"}}}
    assert refusal(server.chat(response_format=wanted), 400)["param"] == "response_format"


def test_a_prompt_that_leaves_no_room_is_refused(server: ServerProcess) -> None:
    error = refusal(server.chat("x" * 600), 400)
    assert (error["param"], error["code"]) == ("messages", "context_length_exceeded")
    assert "512 tokens" in error["message"]


def test_an_answer_is_cut_at_the_models_length(server: ServerProcess) -> None:
    found = chat(server, "x" * 480, max_tokens=1000, ignore_eos=True)
    assert found.usage is not None
    assert found.usage.total_tokens == 512
    assert found.choices[0].finish_reason == "length"


def test_completions_of_several_prompts_come_in_their_order(server: ServerProcess) -> None:
    both = complete(server, ["One", "Two"], n=2, temperature=1, seed=5)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    alone = complete(server, "One", n=2, temperature=1, seed=5)
    assert [choice.text for choice in alone.choices] == [choice.text for choice in both.choices[:2]]
    assert both.usage is not None
    assert both.usage.prompt_tokens == 6


def test_an_echoed_prompt_has_its_own_log_probabilities(server: ServerProcess) -> None:
    body = {"model": TINY, "prompt": "Hello", "echo": True, "logprobs": 1, "max_tokens": 0}
    answer = server.http.post("/v1/completions", json={**body, SERVED_FIELD: served()})
    choice = answer.json()["choices"][0]  # OpenAI's type has no null, but OpenAI's service answers with one
    assert choice["text"] == "Hello"
    assert choice["logprobs"]["tokens"] == list("Hello")
    assert choice["logprobs"]["text_offset"] == [0, 1, 2, 3, 4]
    first, *others = choice["logprobs"]["token_logprobs"]
    assert first is None
    assert all(value < 0 for value in others)
    assert answer.json()["usage"]["completion_tokens"] == 0


def test_a_stream_of_completions_says_the_same_as_the_whole_answer(server: ServerProcess) -> None:
    whole = complete(server, "Hello", temperature=1, seed=2)
    body = {"model": TINY, "prompt": "Hello", "temperature": 1, "seed": 2, "max_tokens": 6}
    stream = server.openai.completions.create(**body, stream=True, extra_body={SERVED_FIELD: served()})
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text


def test_only_the_token_of_the_api_is_accepted(server: ServerProcess) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}):
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=chat_body(), headers=headers)
        assert refusal(answer, 401)["code"] == "invalid_api_key"
    assert httpx.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [(b"{", None), (b"[]", None), (b"{}", "model"), (json.dumps({**chat_body(), "n": 0}).encode(), "n")],
)
def test_a_body_that_is_no_request_is_refused(server: ServerProcess, body: bytes, param: str | None) -> None:
    assert refusal(server.http.post("/v1/chat/completions", content=body), 400)["param"] == param


def test_an_unknown_base_model_is_not_found(server: ServerProcess) -> None:
    error = refusal(server.chat(**{SERVED_FIELD: served(base="unknown")}), 404)
    assert error["code"] == "model_not_found"
