"""How many log-probabilities a request may ask for, and where an answer without a limit ends."""

from typing import Any

import pytest

from core.errors import InvalidRequest
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.completions import CompletionRequest
from core.serving.schemas.logprob_bound import MOST_LOGPROBS, check_logprobs, logprobs_asked, most_tokens

TOP = {"logprobs": True, "top_logprobs": 19}  # 20 at each token
MODEL_LEFT = 1_000_000


def chat(**fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=[{"role": "user", "content": "Hello"}], **fields)  # type: ignore[list-item]


def completion(**fields: Any) -> CompletionRequest:
    return CompletionRequest(model="m", prompt="Hello", **fields)


@pytest.mark.parametrize(
    ("request_", "of_answer", "of_prompt"),
    [
        (chat(), 0, 0),
        (chat(logprobs=True), 1, 0),
        (chat(**TOP, n=4), 20, 0),
        (chat(**TOP, stream=True), 0, 0),
        (chat(prompt_logprobs=3, n=4), 0, 4),
        (completion(logprobs=0), 1, 0),
        (completion(logprobs=5, echo=True, n=2), 6, 12),
        (completion(logprobs=5, echo=True, n=2, stream=True), 0, 12),
        (completion(prompt_logprobs=1, echo=True, n=2), 0, 4),
    ],
)
def test_each_token_gets_what_the_request_asks_for(
    request_: ChatRequest | CompletionRequest, of_answer: int, of_prompt: int
) -> None:
    assert logprobs_asked(request_) == (of_answer, of_prompt)


def test_a_request_may_ask_for_as_many_as_the_bound_and_for_no_more() -> None:
    check_logprobs(chat(**TOP), MOST_LOGPROBS // 20)
    with pytest.raises(
        InvalidRequest, match=r"asks for 300,020 log-probabilities: 20 .* may ask for 300,000"
    ):
        check_logprobs(chat(**TOP), MOST_LOGPROBS // 20 + 1)


def test_a_chat_without_a_limit_ends_where_its_log_probabilities_would_be_too_many() -> None:
    assert most_tokens(chat(**TOP), 100, MODEL_LEFT) == MOST_LOGPROBS // 20
    assert most_tokens(chat(**TOP, n=2), 100, MODEL_LEFT) == MOST_LOGPROBS // 40
    assert most_tokens(chat(**TOP, prompt_logprobs=0), 100_000, MODEL_LEFT) == (MOST_LOGPROBS - 100_000) // 20
    assert most_tokens(chat(**TOP), 100, 50) == 50
    assert most_tokens(chat(**TOP, stream=True), 100, MODEL_LEFT) == MODEL_LEFT
    assert most_tokens(chat(), 100, MODEL_LEFT) == MODEL_LEFT


def test_a_prompt_with_too_many_is_refused_whatever_its_answer() -> None:
    for request in (chat(prompt_logprobs=20), chat(**TOP, prompt_logprobs=20), chat(prompt_logprobs=20, n=2)):
        with pytest.raises(InvalidRequest, match="20,000 tokens of prompts"):
            most_tokens(request, 20_000, MODEL_LEFT)
