"""Log-probabilities in the forms of OpenAI and vLLM."""

from collections.abc import Callable, Sequence

from core.serving.schemas.answers import (
    ChoiceLogprobs,
    CompletionLogprobs,
    PromptLogprob,
    PromptLogprobs,
    TokenLogprob,
    TopLogprob,
)
from worker.engine.sampler.requests import TokenChoice

TokenBytes = Callable[[int], bytes]


def of_chat(chosen: Sequence[TokenChoice], token_bytes: TokenBytes) -> ChoiceLogprobs:
    """Return the log-probabilities of a chat's tokens."""

    def named(token: int, logprob: float) -> TopLogprob:
        found = token_bytes(token)
        return TopLogprob(token=as_text(found), bytes=list(found), logprob=logprob)

    content = []
    for choice in chosen:
        own = named(choice.token, choice.logprob)
        top = [named(*each) for each in choice.top]
        content.append(TokenLogprob(token=own.token, bytes=own.bytes, logprob=own.logprob, top_logprobs=top))
    return ChoiceLogprobs(content=content)


def of_completion(
    chosen: Sequence[TokenChoice | None],
    tokens: Sequence[int],
    top: int,
    offset: int,
    token_bytes: TokenBytes,
) -> CompletionLogprobs:
    """Return the log-probabilities of a completion's tokens, the first of which begins at `offset`.

    `chosen` belongs to `tokens`; that of a prompt's first token is None.
    """
    texts = [as_text(token_bytes(token)) for token in tokens]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    tops = [
        None if choice is None else {as_text(token_bytes(token)): logprob for token, logprob in choice.top}
        for choice in chosen
    ]
    return CompletionLogprobs(
        tokens=texts,
        token_logprobs=[None if choice is None else choice.logprob for choice in chosen],
        top_logprobs=tops if top else None,
        text_offset=offsets,
    )


def of_prompt(chosen: Sequence[TokenChoice | None], token_bytes: TokenBytes) -> PromptLogprobs:
    """Return the log-probabilities of a prompt's tokens, in vLLM's form."""
    return [None if choice is None else _ranked(choice, token_bytes) for choice in chosen]


def as_text(found: bytes) -> str:
    return found.decode("utf-8", "replace")


def _ranked(choice: TokenChoice, token_bytes: TokenBytes) -> dict[str, PromptLogprob]:
    """Return the likeliest tokens by their position, and the prompt's own token.

    The position of a token that is not among the likeliest is not known.
    """
    found = {
        str(token): PromptLogprob(logprob=logprob, rank=position, decoded_token=as_text(token_bytes(token)))
        for position, (token, logprob) in enumerate(choice.top, start=1)
    }
    if str(choice.token) not in found:
        text = as_text(token_bytes(choice.token))
        found[str(choice.token)] = PromptLogprob(logprob=choice.logprob, rank=None, decoded_token=text)
    return found
