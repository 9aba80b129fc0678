"""Bounds the log-probabilities of a request: a whole answer waits in memory with them.

Those of answers that are streamed do not wait, so they have no bound. Those of an echoed prompt come at once.
"""

from core.errors import InvalidRequest
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.completions import CompletionRequest

MOST_LOGPROBS = 300_000  # of a request. In its answer, each takes up to 100 bytes


def check_logprobs(
    request: ChatRequest | CompletionRequest, answer_tokens: int, prompt_tokens: int = 0
) -> None:
    """Raise InvalidRequest if the request asks for too many log-probabilities.

    `answer_tokens` are the most tokens of all answers together, and `prompt_tokens` those of all prompts.
    """
    of_answer, of_prompt = logprobs_asked(request)
    total = of_answer * answer_tokens + of_prompt * prompt_tokens
    if total <= MOST_LOGPROBS:
        return
    prompts = f", and {of_prompt} of each of {prompt_tokens:,} tokens of prompts" if of_prompt else ""
    raise InvalidRequest(
        f"This request asks for {total:,} log-probabilities: {of_answer} of each of {answer_tokens:,} tokens "
        f"that its answers may have{prompts}. It may ask for {MOST_LOGPROBS:,}. Lower 'max_tokens', 'n' or "
        "the number of likeliest tokens, send fewer prompts, or set 'stream': true, which gives those of the "
        "answers piece by piece.",
        code="invalid_value",
        param="logprobs" if request.prompt_logprobs is None else "prompt_logprobs",
    )


def most_tokens(request: ChatRequest, prompt_tokens: int, left: int) -> int:
    """Return the most tokens of each answer to a chat. The model's length leaves `left` tokens.

    A chat without a limit of its own ends where it would have too many log-probabilities. Raises
    InvalidRequest.
    """
    most = left if request.most_tokens is None else min(request.most_tokens, left)
    of_answer, of_prompt = logprobs_asked(request)
    if request.most_tokens is None and of_answer:
        room = (MOST_LOGPROBS - of_prompt * prompt_tokens) // (of_answer * request.choices)
        most = max(1, min(most, room))
    check_logprobs(request, most * request.choices, prompt_tokens)
    return most


def logprobs_asked(request: ChatRequest | CompletionRequest) -> tuple[int, int]:
    """Return how many log-probabilities each token of an answer gets, and each token of a prompt.

    In a completion, each answer repeats those of its prompt, so they count once for each answer.
    """
    of_prompt = 0 if request.prompt_logprobs is None else 1 + request.prompt_logprobs
    if isinstance(request, ChatRequest):
        of_answer = 1 + (request.top_logprobs or 0) if request.logprobs else 0
    else:
        of_answer = 0 if request.logprobs is None else 1 + request.logprobs
        of_prompt = request.choices * (of_prompt + (of_answer if request.echo else 0))
    return 0 if request.stream else of_answer, of_prompt
