"""Log-probabilities in the forms of OpenAI and vLLM. Those of a token become JSON as soon as they come.

As objects, they would take ten times the memory until the answer is whole.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from worker.engine.sampler.requests import TokenChoice

TokenBytes = Callable[[int], bytes]


def of_chat(chosen: Iterable[TokenChoice], token_bytes: TokenBytes) -> list[Raw]:
    """Return the log-probabilities of a chat's tokens: a `TokenLogprob` for each."""

    def named(token: int, logprob: float) -> dict[str, Any]:
        found = token_bytes(token)
        return {"token": as_text(found), "bytes": list(found), "logprob": logprob}

    return [
        _json(named(choice.token, choice.logprob) | {"top_logprobs": [named(*each) for each in choice.top]})
        for choice in chosen
    ]


class CompletionLogprobs:
    """The log-probabilities of a completion's tokens. The first of them begins at `offset` of its text."""

    def __init__(self, top: int, offset: int, token_bytes: TokenBytes) -> None:
        """Write no likeliest tokens if `top` is 0."""
        self._next_offset, self._token_bytes = offset, token_bytes
        self._tokens: list[str] = []
        self._logprobs: list[float | None] = []
        self._tops: list[Raw | None] | None = [] if top else None
        self._offsets: list[int] = []

    def add(self, chosen: Sequence[TokenChoice | None], prompt: Sequence[int]) -> None:
        """Add the next tokens. If one is None, `chosen` begins with the whole prompt."""
        for place, choice in enumerate(chosen):
            text = as_text(self._token_bytes(prompt[place] if choice is None else choice.token))
            self._tokens.append(text)
            self._logprobs.append(None if choice is None else choice.logprob)
            self._offsets.append(self._next_offset)
            self._next_offset += len(text)
            if self._tops is not None:
                self._tops.append(None if choice is None else self._top(choice))

    @property
    def found(self) -> dict[str, Any]:
        """The log-probabilities in OpenAI's form."""
        return {
            "tokens": self._tokens,
            "token_logprobs": self._logprobs,
            "top_logprobs": self._tops,
            "text_offset": self._offsets,
        }

    def _top(self, choice: TokenChoice) -> Raw:
        return _json({as_text(self._token_bytes(token)): logprob for token, logprob in choice.top})


def of_prompt(chosen: Sequence[TokenChoice | None], token_bytes: TokenBytes) -> list[Raw | None]:
    """Return the log-probabilities of a prompt's tokens, in vLLM's form."""
    return [None if choice is None else _json(_ranked(choice, token_bytes)) for choice in chosen]


def as_text(found: bytes) -> str:
    return found.decode("utf-8", "replace")


def _ranked(choice: TokenChoice, token_bytes: TokenBytes) -> dict[str, Any]:
    """Return the likeliest tokens by their position, and the prompt's own token.

    The position of a token that is not among the likeliest is not known.
    """

    def ranked(token: int, logprob: float, rank: int | None) -> dict[str, Any]:
        return {"logprob": logprob, "rank": rank, "decoded_token": as_text(token_bytes(token))}

    found = {str(token): ranked(token, logprob, rank) for rank, (token, logprob) in enumerate(choice.top, 1)}
    if str(choice.token) not in found:
        found[str(choice.token)] = ranked(choice.token, choice.logprob, None)
    return found


def _json(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))
