"""A chat's answers in OpenAI's form: whole, or in chunks."""

from collections.abc import Iterator
from typing import Any

from core.serving.schemas.answers import AnsweredToolCall, Delta, DeltaFunction, DeltaToolCall, Usage
from core.serving.schemas.chat import ChatRequest
from worker.server.answering import logprobs
from worker.server.answering.chat_answer import ChatAnswer
from worker.server.answering.logprobs import TokenBytes
from worker.server.sampling.answer_stream import Increment


class ChatForm:
    """Makes the answers to a chat of the increments that the sampler gives.

    They have the fields of `ChatCompletion` and `ChatChunk`.
    """

    def __init__(
        self, request: ChatRequest, head: dict[str, Any], answers: list[ChatAnswer], token_bytes: TokenBytes
    ) -> None:
        """`head` has the fields that the answer and all chunks share."""
        self._request, self._head, self._answers = request, head, answers
        self._token_bytes = token_bytes
        self._begun: set[int] = set()

    def add(self, increment: Increment) -> None:
        """Remember an increment for the whole answer."""
        answer = self._answers[increment.index]
        answer.take(increment)
        answer.logprobs += logprobs.of_chat(increment.chosen, self._token_bytes)
        if increment.index == 0 and increment.prompt_logprobs:
            answer.prompt_logprobs = logprobs.of_prompt(increment.prompt_logprobs, self._token_bytes)

    def whole(self, usage: Usage) -> dict[str, Any]:
        choices = [self._choice(index, answer) for index, answer in enumerate(self._answers)]
        found = {**self._head, "object": "chat.completion", "choices": choices, "usage": usage}
        if self._answers[0].prompt_logprobs:
            found["prompt_logprobs"] = self._answers[0].prompt_logprobs
        return found

    def chunks(self, increment: Increment) -> Iterator[dict[str, Any]]:
        """Yield the chunks of a stream that follow from an increment."""
        answer = self._answers[increment.index]
        deltas = [self._delta(answer, each) for each in answer.take(increment)]
        if increment.index not in self._begun:
            self._begun.add(increment.index)
            deltas.insert(0, Delta(role="assistant", content="", refusal=None))
        if increment.chosen and not deltas:
            deltas.append(Delta(content=""))  # their text is held back, but their log-probabilities are not
        choices = [self._chunk_choice(increment.index, delta) for delta in deltas]
        if increment.chosen:
            choices[-1]["logprobs"] = {"content": logprobs.of_chat(increment.chosen, self._token_bytes)}
        if answer.finish_reason is not None:
            choices.append(self._chunk_choice(increment.index, Delta(), answer.finish_reason))
        for choice in choices:
            yield self._chunk([choice])

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        return self._chunk([]) | {"usage": usage}

    def _choice(self, index: int, answer: ChatAnswer) -> dict[str, Any]:
        return {
            "index": index,
            "message": answer.message,
            "logprobs": {"content": answer.logprobs} if self._request.logprobs else None,
            "finish_reason": answer.finish_reason or "stop",
        }

    @staticmethod
    def _chunk_choice(index: int, delta: Delta, finish_reason: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk", "choices": choices}

    @staticmethod
    def _delta(answer: ChatAnswer, found: str | AnsweredToolCall) -> Delta:
        if isinstance(found, str):
            return Delta(content=found)
        function = DeltaFunction(name=found.function.name, arguments=found.function.arguments)
        index = answer.calls.index(found)
        return Delta(tool_calls=[DeltaToolCall(index=index, id=found.id, type="function", function=function)])
