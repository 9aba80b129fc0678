"""Requests mean to vLLM what they mean to the own sampler, and its answers have our form."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.errors import AppError
from core.serving.errors import SamplingFailed, UnsuitedServer
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.completions import CompletionRequest
from tests.fixtures.rows.images import image_part, question
from worker.server.upstream.answer_form import AnswerForm, events_of
from worker.server.upstream.errors import AdapterForgotten, failure, refusal
from worker.server.upstream.request_form import chat_body, completion_body
from worker.server.writing import written

HEAD = {"id": "chatcmpl-ours", "created": 7, "model": "ft:ours", "system_fingerprint": "fp_ours"}
TOOL = {"type": "function", "function": {"name": "paint"}}


def asked(**fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Hello"}]
    request = ChatRequest.model_validate({"model": "m", "messages": messages, **fields})
    return chat_body(request, max_length=512, project="a-project")


def message(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "Hi", "reasoning": None, "tool_calls": [], **fields}


def answer(**fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message(), "finish_reason": "stop", "stop_reason": None, **fields}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": None}
    theirs = {"id": "chatcmpl-theirs", "object": "chat.completion", "created": 1, "model": "hash"}
    return {**theirs, "choices": [choice], "usage": usage, "prompt_logprobs": None, "metrics": None}


def form(is_chat: bool = True, tells_usage: bool = False) -> AnswerForm:
    return AnswerForm(HEAD, is_chat=is_chat, tells_usage=tells_usage)


def test_defaults_of_the_models_own_configuration_have_no_effect() -> None:
    body = asked()
    assert (body["temperature"], body["top_p"], body["top_k"], body["repetition_penalty"]) == (1, 1, 0, 1)
    assert asked(temperature=0, top_k=5)["top_k"] == 5
    assert asked(temperature=None)["temperature"] == 1


def test_what_has_no_effect_here_is_not_sent() -> None:
    body = asked(store=True, metadata={"a": "b"}, user="u", service_tier="auto", seed=3, max_tokens=9)
    assert not {"store", "metadata", "user", "service_tier", "model", "max_tokens"} & body.keys()
    assert (body["seed"], body["max_completion_tokens"]) == (3, 9)


def test_messages_are_sent_as_the_chat_template_takes_them() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "paint", "arguments": "{}"}}
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    body = asked(
        messages=[
            {"role": "developer", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "done", "tool_call_id": "c"},
        ]
    )
    assert body["messages"] == [
        {"role": "system", "content": "one two"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "done", "tool_call_id": "c"},
    ]


def test_images_are_sent_as_they_are() -> None:
    content = question(image_part(detail="low"))["content"]
    body = asked(
        messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": content}]
    )
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": content},
    ]


def test_no_more_tokens_are_asked_for_than_the_model_has() -> None:
    assert asked(max_tokens=100_000)["max_completion_tokens"] == 512
    assert asked()["max_completion_tokens"] == 512  # or vLLM takes a limit from the model's folder


def test_several_answers_that_would_all_be_the_same_are_left_to_another_server() -> None:
    with pytest.raises(UnsuitedServer) as raised:
        asked(n=2, temperature=0)
    assert raised.value.param == "n"
    assert asked(n=2, temperature=0.5)["n"] == 2


def test_tools_that_may_not_be_called_are_not_shown() -> None:
    assert asked(tools=[TOOL])["tools"] == [TOOL]
    assert "tools" not in asked(tools=[TOOL], tool_choice="none")


def test_a_schema_is_sent_under_its_name_and_an_empty_one_is_any_json() -> None:
    for schema in ({"type": "object"}, None):
        wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        assert asked(response_format=wanted)["response_format"]["json_schema"]["schema"] == (schema or {})


def test_a_completion_has_openais_default_length() -> None:
    request = CompletionRequest.model_validate({"model": "m", "prompt": [1, 2], "best_of": 1})
    body = completion_body(request, max_length=512, project="a-project")
    assert (body["prompt"], body["max_tokens"]) == ([1, 2], 16)
    assert "best_of" not in body
    assert body["cache_salt"] == "a-project"


def test_vllm_keeps_what_it_has_computed_for_one_project_from_others() -> None:
    assert asked()["cache_salt"] == "a-project"
    request = ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "Hello"}]})
    assert "cache_salt" not in chat_body(request, max_length=512, project="")


def test_an_answer_has_our_head_and_nothing_of_vllms_own() -> None:
    found = form().whole(json.dumps(answer()).encode())
    assert {name: found[name] for name in HEAD} == HEAD
    assert found["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    ]
    assert found["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert not {"metrics", "prompt_logprobs"} & found.keys()


def test_a_demanded_call_ends_with_the_reason_of_calls_whole_and_streamed() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "paint", "arguments": "{}"}}
    whole = form().whole(json.dumps(answer(message=message(content="", tool_calls=[call]))).encode())
    assert whole["choices"][0]["finish_reason"] == "tool_calls"
    assert whole["choices"][0]["message"]["content"] is None
    streamed = form()
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "hash"}
    streamed.chunk({**head, "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **call}]}}]})
    last = streamed.chunk({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    assert last.choices[0].finish_reason == "tool_calls"


def test_an_unknown_form_is_an_error_and_no_answer() -> None:
    for broken in ({}, answer(finish_reason="tired"), {"choices": [{"index": 0}]}):
        with pytest.raises(SamplingFailed, match="unknown form"):
            form().whole(json.dumps(broken).encode())


def test_events_may_be_cut_anywhere() -> None:
    async def read(sent: bytes, size: int) -> list[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(sent), size):
                yield sent[start : start + size]

        return [event async for event in events_of(pieces())]

    sent = 'data: {"a": "ä"}\n\n: a comment\n\ndata: [DONE]\n\n'.encode()
    for size in range(1, len(sent)):
        assert asyncio.run(read(sent, size)) == ['{"a": "ä"}'.encode(), b"[DONE]"]


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "This model's maximum context length is 8 tokens.", "context_length_exceeded"),
        (400, "seed must be an integer", "invalid_value"),
        (400, '"auto" tool choice requires --enable-auto-tool-choice', "server_unsuited"),
        (401, "Unauthorized", "model_unavailable"),
        (404, "No such path", "sampling_failed"),
        (429, "too many", "server_busy"),
        (500, "EngineDeadError", "sampling_failed"),
        (503, "overloaded", "server_busy"),
    ],
)
def test_an_error_of_vllm_becomes_one_that_the_api_can_judge(status: int, message: str, code: str) -> None:
    found = refusal(status, json.dumps({"error": {"message": message, "param": None}}).encode())
    assert isinstance(found, AppError)
    assert found.code == code


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_what_vllm_says_of_itself_is_not_shown(status: int) -> None:
    secret = "at http://10.0.0.7:8000/v1 in /srv/models/other"
    found = refusal(status, json.dumps({"error": {"message": secret}}).encode())
    assert isinstance(found, AppError)
    assert secret not in found.message
    assert "10.0.0.7" not in failure({"error": {"message": secret}}).message


def test_what_vllm_says_of_the_requests_own_fields_is_shown() -> None:
    schema = "Grammar error: unimplemented keys: ['patternProperties']"
    found = refusal(400, json.dumps({"error": {"message": schema, "param": "response_format"}}).encode())
    assert isinstance(found, AppError)
    assert (found.message, found.param) == (schema, "response_format")


def test_log_probabilities_of_a_whole_answer_stay_as_they_come() -> None:
    logprobs = {"content": [{"token": "a", "bytes": [97], "logprob": -1e-7, "top_logprobs": []}]}
    content = json.dumps(answer(logprobs=logprobs) | {"prompt_logprobs": [None, {"5": {"rank": 1}}]}).encode()
    found = json.loads(written(form().whole(content)))
    assert found["choices"][0]["logprobs"] == logprobs
    assert found["prompt_logprobs"] == [None, {"5": {"rank": 1}}]


def test_a_model_that_vllm_does_not_know_was_forgotten() -> None:
    found = refusal(404, b'{"error": {"message": "The model `x` does not exist."}}')
    assert isinstance(found, AdapterForgotten)
