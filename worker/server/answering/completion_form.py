"""Completions in OpenAI's form: whole, or in chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.serving.schemas.answers import Completion, CompletionChoice, CompletionLogprobs, Usage
from core.serving.schemas.completions import CompletionRequest
from worker.engine.sampler.requests import TokenChoice
from worker.server.answering import logprobs
from worker.server.answering.logprobs import TokenBytes, as_text
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
    chosen: list[TokenChoice | None] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] | None = None
    prompt_logprobs: Sequence[TokenChoice | None] | None = None


class CompletionForm:
    """Makes the answers to prompts of the increments that the sampler gives."""

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
        answer.chosen += chosen

    def whole(self, usage: Usage) -> Completion:
        choices = [
            self._choice(index, answer, answer.text, answer.chosen, 0)
            for index, answer in enumerate(self._answers)
        ]
        for choice, answer in zip(choices, self._answers, strict=True):
            if self._request.prompt_logprobs is not None and answer.prompt_logprobs is not None:
                choice.prompt_logprobs = logprobs.of_prompt(answer.prompt_logprobs, self._token_bytes)
        return Completion(**self._head, object="text_completion", choices=choices, usage=usage)

    def chunks(self, increment: Increment) -> Iterator[Completion]:
        """Yield the chunk of a stream that follows from an increment."""
        answer = self._answers[increment.index]
        offset = answer.length
        text, chosen = self._take(answer, increment)
        if text or chosen or answer.finish_reason is not None:
            yield self._chunk([self._choice(increment.index, answer, text, chosen, offset)])

    def usage_chunk(self, usage: Usage) -> Completion:
        chunk = self._chunk([])
        chunk.usage = usage
        return chunk

    def _take(self, answer: CompletionAnswer, increment: Increment) -> tuple[str, list[TokenChoice | None]]:
        """Return the text and the tokens that an increment adds."""
        text, chosen = "", []
        answer.prompt_logprobs = answer.prompt_logprobs or increment.prompt_logprobs
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

    def _choice(
        self,
        index: int,
        answer: CompletionAnswer,
        text: str,
        chosen: list[TokenChoice | None],
        offset: int,
    ) -> CompletionChoice:
        return CompletionChoice(
            index=index,
            text=text,
            logprobs=self._logprobs(answer, chosen, offset),
            finish_reason=answer.finish_reason,
        )

    def _logprobs(
        self, answer: CompletionAnswer, chosen: list[TokenChoice | None], offset: int
    ) -> CompletionLogprobs | None:
        if self._request.logprobs is None:
            return None
        tokens = [answer.prompt[0] if choice is None else choice.token for choice in chosen]
        return logprobs.of_completion(chosen, tokens, self._request.logprobs, offset, self._token_bytes)

    def _chunk(self, choices: list[CompletionChoice]) -> Completion:
        return Completion(**self._head, object="text_completion", choices=choices)
