"""A server answers chats and completions in OpenAI's form, as the API asks it to."""

from typing import Any

import httpx
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from core.serving.served_model import SERVED_FIELD
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import strictly
from tests.fixtures.service.serving import ServerProcess, chat_body, served

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
    extra = {name: body.pop(name) for name in (SERVED_FIELD, "ignore_eos") if name in body}
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


def accepted_drafts(server: ServerProcess) -> float:
    """Return the number of drafted tokens that have become an answer's, of all requests so far."""
    name = 'tunery_serve_draft_tokens_total{outcome="accepted"}'
    lines = server.http.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_a_prediction_changes_nothing_in_the_answer_and_its_tokens_are_counted(server: ServerProcess) -> None:
    whole = chat(server, max_tokens=40, ignore_eos=True)
    body = {"prediction": {"type": "content", "content": text_of(whole)[:-4] + "something else"}}
    before = accepted_drafts(server)
    found = chat(server, max_tokens=40, ignore_eos=True, **body)
    assert text_of(found) == text_of(whole)
    assert found.usage is not None
    assert whole.usage is not None
    assert whole.usage.completion_tokens_details is None
    assert found.usage.completion_tokens == whole.usage.completion_tokens == 40
    details = found.usage.completion_tokens_details
    assert details is not None
    assert details.accepted_prediction_tokens
    assert 0 < details.accepted_prediction_tokens < 40
    *streamed, last = chunks(
        server, max_tokens=40, ignore_eos=True, logprobs=True, stream_options={"include_usage": True}, **body
    )
    assert "".join(each.choices[0].delta.content or "" for each in streamed) == text_of(whole)
    logprobs = [each.choices[0].logprobs for each in streamed if each.choices[0].logprobs]
    assert sum(len(each.content or ()) for each in logprobs) == 40
    assert last.usage is not None
    assert last.usage.completion_tokens == 40
    again = last.usage.completion_tokens_details
    assert again is not None
    assert again.accepted_prediction_tokens
    predicted = details.accepted_prediction_tokens + again.accepted_prediction_tokens
    assert before + predicted <= accepted_drafts(server) < before + 2 * 40


def test_an_answer_ends_before_a_stop_string(server: ServerProcess) -> None:
    full = text_of(chat(server, temperature=1, seed=3, max_tokens=40))
    stop = full[10:12]
    cut = chat(server, temperature=1, seed=3, max_tokens=40, stop=[stop])
    assert text_of(cut) == full[: full.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


def test_tools_are_refused_if_the_chat_template_has_no_place_for_them(server: ServerProcess) -> None:
    error = refusal(server.chat(tools=[TOOL]), 400)
    assert (error["param"], error["code"]) == ("tools", "unsupported_parameter")


def test_a_schema_that_cannot_be_followed_is_refused(server: ServerProcess) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/$defs/missing"}}}
    assert refusal(server.chat(response_format=wanted), 400)["param"] == "response_format"


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


def test_a_prompt_whose_log_probabilities_are_too_many_is_refused(server: ServerProcess) -> None:
    body = {"model": TINY, "prompt": ["x" * 400] * 64, "max_tokens": 1, "prompt_logprobs": 20}
    error = refusal(server.http.post("/v1/completions", json={**body, SERVED_FIELD: served()}), 400)
    assert (error["param"], error["code"]) == ("prompt_logprobs", "invalid_value")
    assert "25,600 tokens of prompts" in error["message"]


def test_log_probabilities_of_prompts_have_the_form_of_vllm_for_each_answer(server: ServerProcess) -> None:
    found = chat(server, prompt_logprobs=2, max_tokens=1).model_dump()
    first, *others = found["prompt_logprobs"]
    assert first is None
    assert len(others) == found["usage"]["prompt_tokens"] - 1
    body = {"model": TINY, "prompt": "Hello", "max_tokens": 1, "n": 2, "prompt_logprobs": 1}
    answer = server.http.post("/v1/completions", json={**body, SERVED_FIELD: served()}).json()
    for choice in answer["choices"]:
        at = choice["prompt_logprobs"][1]
        assert "e" in [each["decoded_token"] for each in at.values()]
        assert {"logprob", "rank", "decoded_token"} == set(next(iter(at.values())))


def test_an_unknown_base_model_is_not_found(server: ServerProcess) -> None:
    error = refusal(server.chat(**{SERVED_FIELD: served(base="unknown")}), 404)
    assert error["code"] == "model_not_found"
