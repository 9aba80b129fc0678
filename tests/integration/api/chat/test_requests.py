"""A request that cannot be answered is refused by the field that is wrong, before any server is asked."""

from typing import Any

import pytest

from tests.fixtures.service.api import BASE_MODEL, Tenant, refusal

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "Hello"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
LOOK = {"type": "function", "function": {"name": "look"}}


def asked(**body: Any) -> dict[str, Any]:
    return {"model": BASE_MODEL, "messages": HELLO, **body}


def schema_named(name: str) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("body", "param", "code", "words"),
    [
        ({"messages": []}, "messages", "invalid_value", "1 to 4096 items"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages.0.role", "invalid_value", '"user"'),
        ({"messages": [{"role": "user"}]}, "messages.0.content", "missing_required_parameter", "content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "messages.0.content.0.type",
            "invalid_value",
            'On offer: "image_url" and "text"',
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages.0.content.0.image_url.url",
            "invalid_image_url",
            "must begin with data:image/png;base64",
        ),
        (
            {"messages": [{"role": "tool", "content": "4", "tool_call_id": "call_1"}]},
            "messages.0.tool_call_id",
            "invalid_value",
            "'call_1'",
        ),
        ({"messages": [{"role": "assistant"}]}, "messages.0.content", "invalid_value", "'tool_calls'"),
        ({"temperature": 2.5}, "temperature", "invalid_value", "from 0 to 2"),
        ({"stop": ["a", 5]}, "stop.1", "invalid_value", "a string"),
        ({"logit_bias": {"hello": 1}}, "logit_bias", "invalid_value", "each key a string that matches"),
        ({"n": 17}, "n", "invalid_value", "from 1 to 16"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value", '"json_schema"'),
        (
            {"response_format": schema_named("not a name")},
            "response_format.json_schema.name",
            "invalid_value",
            "matches",
        ),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value", "needs 'tools'"),
        ({"tools": [LOOK, LOOK]}, "tools.1.function.name", "invalid_value", "'look'"),
        (
            {"tools": [LOOK], "tool_choice": {"type": "function", "function": {"name": "leap"}}},
            "tool_choice.function.name",
            "invalid_value",
            "'leap'",
        ),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "invalid_value", "not both"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value", "at least 1"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens", "invalid_value", "at most 8"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value", "'logprobs': true"),
        (
            {"logprobs": True, "top_logprobs": 20, "max_tokens": 10_000, "n": 2},
            "logprobs",
            "invalid_value",
            "420,000 log-probabilities: 21 of each of 20,000 tokens",
        ),
        ({"stream_options": {}}, "stream_options", "invalid_value", "'stream': true"),
        ({"stream": True, "prompt_logprobs": 1}, "prompt_logprobs", "invalid_value", "not streamed"),
        ({"functions": [{"name": "f"}]}, "functions", "unsupported_parameter", "Use `tools` instead"),
        ({"function_call": "auto"}, "function_call", "unsupported_parameter", "`tool_choice`"),
        ({"audio": {"voice": "x", "format": "mp3"}}, "audio", "unsupported_parameter", "text only"),
        ({"reasoning_effort": "low"}, "reasoning_effort", "unsupported_parameter", "reasoning effort"),
        ({"web_search_options": {}}, "web_search_options", "unsupported_parameter", "web"),
        ({"modalities": ["audio"]}, "modalities.0", "invalid_value", '"text"'),
        ({"service_tier": "flex"}, "service_tier", "invalid_value", '"auto"'),
        ({"temprature": 1}, "temprature", "unknown_parameter", "The request takes model, temperature"),
    ],
)
def test_a_chat_that_cannot_be_answered_is_refused_by_the_field(
    alice: Tenant, body: dict[str, Any], param: str, code: str, words: str
) -> None:
    error = refusal(alice.http.post(CHAT, json=asked(**body)), 400, param, code)
    assert words in error["message"]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "prompt", "missing_required_parameter"),
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": "a", "best_of": 2}, "best_of", "invalid_value"),
        ({"prompt": ["a"] * 9, "n": 15}, "n", "invalid_value"),
        ({"prompt": "a", "suffix": "b"}, "suffix", "unsupported_parameter"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"prompt": ["a"] * 64, "max_tokens": 2040, "logprobs": 20}, "logprobs", "invalid_value"),
        ({"prompt": [[5] * 2000] * 64, "prompt_logprobs": 20}, "prompt_logprobs", "invalid_value"),
        (
            {"prompt": [5] * 15_000, "echo": True, "logprobs": 20, "stream": True},
            "logprobs",
            "invalid_value",
        ),
        ({"prompt": "a", "logprobs": True}, "logprobs", "invalid_value"),
        ({"prompt": "a", "messages": HELLO}, "messages", "unknown_parameter"),
    ],
)
def test_a_completion_that_cannot_be_answered_is_refused_by_the_field(
    alice: Tenant, body: dict[str, Any], param: str, code: str
) -> None:
    refusal(alice.http.post(COMPLETIONS, json={"model": BASE_MODEL, **body}), 400, param, code)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            CHAT,
            asked(
                messages=[
                    {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
                    *HELLO,
                    {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
                    {"role": "tool", "content": "4", "tool_call_id": "call_1"},
                ],
                tools=[LOOK],
                tool_choice="auto",
                parallel_tool_calls=True,
                service_tier="auto",
                modalities=["text"],
                reasoning_effort=None,
                prompt_cache_key="a",
                safety_identifier="b",
                user="c",
                n=None,
                temperature=None,
                stream=None,
                response_format=schema_named("answer"),
            ),
        ),
        (CHAT, asked(logprobs=True, top_logprobs=20, n=16)),
        (CHAT, asked(logprobs=True, top_logprobs=20, max_tokens=100_000, stream=True)),
        (CHAT, asked(top_k=5, min_p=0.1, repetition_penalty=1.1, ignore_eos=True, min_tokens=2)),
        (COMPLETIONS, {"model": BASE_MODEL, "prompt": [[1, 2], [3]], "echo": True, "best_of": 1}),
    ],
)
def test_without_a_server_a_good_request_learns_how_to_start_one(
    alice: Tenant, path: str, body: dict[str, Any]
) -> None:
    answer = alice.http.post(path, json=body)
    error = refusal(answer, 503, code="no_server")
    assert "`tunery serve`" in error["message"]
    assert answer.headers["retry-after"]
