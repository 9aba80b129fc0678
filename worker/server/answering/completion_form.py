"""Completions in OpenAI's form: whole, or in chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Raw

from core.serving.schemas.answers import Usage
from core.serving.schemas.completions import CompletionRequest
from worker.engine.sampler.requests import TokenChoice
from worker.server.answering.logprobs import CompletionLogprobs, TokenBytes, as_text, of_prompt
from worker.server.sampling.answer_stream import Increment


@dataclass
class CompletionAnswer:
    """One answer. With `echoes`, it begins with the prompt. With `silent`, that is all of it."""

    prompt: Sequence[int]
    echoes: bool
    silent: bool
    text: str = ""
    length: int = 0
    begun: bool = False
    finish_reason: Literal["stop", "length"] | None = None
    logprobs: CompletionLogprobs | None = None
    prompt_logprobs: list[Raw | None] = field(default_factory=list)


class CompletionForm:
    """Makes the answers to prompts of the increments that the sampler gives: they are a `Completion` each."""

    def __init__(
        self,
        request: CompletionRequest,
        head: dict[str, Any],
        answers: list[CompletionAnswer],
        token_bytes: TokenBytes,
    ) -> None:
        """`head` has the fields that the answer and all chunks share."""
        self._request, self._head, self._answers = request, head, answers
        self._token_bytes = token_bytes

    def add(self, increment: Increment) -> None:
        """Remember an increment for the whole answer."""
        answer = self._answers[increment.index]
        text, chosen = self._take(answer, increment)
        answer.text += text
        answer.logprobs = answer.logprobs or self._no_logprobs(0)
        if answer.logprobs is not None:
            answer.logprobs.add(chosen, answer.prompt)
        if self._request.prompt_logprobs is not None and increment.prompt_logprobs is not None:
            answer.prompt_logprobs = of_prompt(increment.prompt_logprobs, self._token_bytes)

    def whole(self, usage: Usage) -> dict[str, Any]:
        choices = []
        for index, answer in enumerate(self._answers):
            choices.append(self._choice(index, answer, answer.text, answer.logprobs))
            if answer.prompt_logprobs:
                choices[-1]["prompt_logprobs"] = answer.prompt_logprobs
        return self._chunk(choices) | {"usage": usage}

    def chunks(self, increment: Increment) -> Iterator[dict[str, Any]]:
        """Yield the chunk of a stream that follows from an increment."""
        answer = self._answers[increment.index]
        found = self._no_logprobs(answer.length)
        text, chosen = self._take(answer, increment)
        if found is not None:
            found.add(chosen, answer.prompt)
        if text or chosen or answer.finish_reason is not None:
            yield self._chunk([self._choice(increment.index, answer, text, found)])

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        return self._chunk([]) | {"usage": usage}

    def _take(self, answer: CompletionAnswer, increment: Increment) -> tuple[str, list[TokenChoice | None]]:
        """Return the text and the tokens that an increment adds."""
        text, chosen = "", []
        if answer.echoes and not answer.begun:
            text = as_text(b"".join(map(self._token_bytes, answer.prompt)))
            chosen = list(increment.prompt_logprobs or ())
        answer.begun = True
        if not answer.silent:
            text += increment.text
            chosen += increment.chosen
        if increment.last is not None:
            answer.finish_reason = "length" if increment.last.finish_reason == "length" else "stop"
        answer.length += len(text)
        return text, chosen

    def _no_logprobs(self, offset: int) -> CompletionLogprobs | None:
        """Return the log-probabilities before the first token, or None if the client does not want any."""
        top = self._request.logprobs
        return None if top is None else CompletionLogprobs(top, offset, self._token_bytes)

    @staticmethod
    def _choice(
        index: int, answer: CompletionAnswer, text: str, found: CompletionLogprobs | None
    ) -> dict[str, Any]:
        return {
            "index": index,
            "text": text,
            "logprobs": found and found.found,
            "finish_reason": answer.finish_reason,
        }

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head, "object": "text_completion", "choices": choices}
