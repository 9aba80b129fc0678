"""A chat's answers in OpenAI's form: whole, or in chunks."""

from collections.abc import Iterator
from typing import Any

from core.serving.schemas.answers import (
    AnsweredToolCall,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChunkChoice,
    Delta,
    DeltaFunction,
    DeltaToolCall,
    Usage,
)
from core.serving.schemas.chat import ChatRequest
from worker.server.answering import logprobs
from worker.server.answering.chat_answer import ChatAnswer
from worker.server.answering.logprobs import TokenBytes
from worker.server.sampling.answer_stream import Increment


class ChatForm:
    """Makes the answers to a chat of the increments that the sampler gives."""

    def __init__(
        self, request: ChatRequest, head: dict[str, Any], answers: list[ChatAnswer], token_bytes: TokenBytes
    ) -> None:
        """`head` has the fields that the answer and all chunks share."""
        self._request, self._head, self._answers = request, head, answers
        self._token_bytes = token_bytes
        self._begun: set[int] = set()

    def add(self, increment: Increment) -> None:
        """Remember an increment for the whole answer."""
        self._answers[increment.index].take(increment)

    def whole(self, usage: Usage) -> ChatCompletion:
        first = self._answers[0].prompt_logprobs
        asked = {"prompt_logprobs": logprobs.of_prompt(first, self._token_bytes)} if first else {}
        choices = [self._choice(index, answer) for index, answer in enumerate(self._answers)]
        return ChatCompletion(**self._head, object="chat.completion", choices=choices, usage=usage, **asked)

    def chunks(self, increment: Increment) -> Iterator[ChatChunk]:
        """Yield the chunks of a stream that follow from an increment."""
        answer = self._answers[increment.index]
        deltas = [self._delta(answer, each) for each in answer.take(increment)]
        answer.chosen.clear()  # the chunks below have them
        if increment.index not in self._begun:
            self._begun.add(increment.index)
            deltas.insert(0, Delta(role="assistant", content="", refusal=None))
        if increment.chosen and not deltas:
            deltas.append(Delta(content=""))  # their text is held back, but their log-probabilities are not
        choices = [
            ChunkChoice(index=increment.index, delta=delta, logprobs=None, finish_reason=None)
            for delta in deltas
        ]
        if increment.chosen:
            choices[-1].logprobs = logprobs.of_chat(increment.chosen, self._token_bytes)
        if (reason := answer.finish_reason) is not None:
            choices.append(
                ChunkChoice(index=increment.index, delta=Delta(), logprobs=None, finish_reason=reason)
            )
        for choice in choices:
            yield self._chunk([choice])

    def usage_chunk(self, usage: Usage) -> ChatChunk:
        chunk = self._chunk([])
        chunk.usage = usage
        return chunk

    def _choice(self, index: int, answer: ChatAnswer) -> ChatChoice:
        found = logprobs.of_chat(answer.chosen, self._token_bytes) if self._request.logprobs else None
        return ChatChoice(
            index=index,
            message=answer.message,
            logprobs=found,
            finish_reason=answer.finish_reason or "stop",
        )

    def _chunk(self, choices: list[ChunkChoice]) -> ChatChunk:
        return ChatChunk(**self._head, object="chat.completion.chunk", choices=choices)

    @staticmethod
    def _delta(answer: ChatAnswer, found: str | AnsweredToolCall) -> Delta:
        if isinstance(found, str):
            return Delta(content=found)
        function = DeltaFunction(name=found.function.name, arguments=found.function.arguments)
        index = answer.calls.index(found)
        return Delta(tool_calls=[DeltaToolCall(index=index, id=found.id, type="function", function=function)])
