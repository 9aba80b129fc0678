"""vLLM's answers in the form of our own: what OpenAI's form does not have is left out."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec
from msgspec import Raw
from pydantic import BaseModel, ValidationError

from core.serving import event_stream
from core.serving.errors import SamplingFailed
from core.serving.schemas.answers import ChatChunk, ChatCompletion, Completion

Form = TypeVar("Form", bound=BaseModel)

LOGPROBS, NULL = ("logprobs", "prompt_logprobs"), Raw(b"null")
OMITTED_IF_NULL = ("completion_tokens_details", "prompt_logprobs", "prompt_tokens_details", "service_tier")


class AnswerForm:
    """Rewrites the answers to one request. `head` has the fields that the answer and all chunks share."""

    def __init__(self, head: dict[str, Any], *, is_chat: bool, tells_usage: bool) -> None:
        """With `tells_usage`, each chunk of a stream has a usage, which may be null."""
        self._head, self._is_chat, self._tells_usage = head, is_chat, tells_usage
        self._called: set[int] = set()

    def whole(self, content: bytes) -> dict[str, Any]:
        """Return the whole answer. Its log-probabilities stay as they come, since they may be large.

        Raises SamplingFailed if it is not one.
        """
        answer, kept = _without_logprobs(content)
        for choice in answer["choices"]:
            _omit_null(choice)
            if self._is_chat:
                self._settle_calls(choice, choice.get("message"))
        headed = self._headed(answer)
        form = _read(ChatCompletion, headed) if self._is_chat else _read(Completion, headed)
        found = form.model_dump(exclude_unset=True)
        for part, logprobs in zip([found, *found["choices"]], kept, strict=True):
            part.update(logprobs)
        return found

    def chunk(self, event: dict[str, Any]) -> ChatChunk | Completion:
        """Return a chunk of a stream. Raises SamplingFailed if the event is not one."""
        for choice in event.get("choices", []):
            _omit_null(choice)
            if self._is_chat:
                self._settle_calls(choice, choice.get("delta"))
        if self._tells_usage:
            event.setdefault("usage", None)
        headed = self._headed(event)
        return _read(ChatChunk, headed) if self._is_chat else _read(Completion, headed)

    def _settle_calls(self, choice: dict[str, Any], message: Any) -> None:
        """Give an answer with calls the finish reason `tool_calls`, also if the call was demanded."""
        if not isinstance(message, dict):
            return
        if message.get("tool_calls"):
            self._called.add(choice.get("index", 0))
            message["content"] = message.get("content") or None
        else:
            message.pop("tool_calls", None)
        if choice.get("finish_reason") == "stop" and choice.get("index", 0) in self._called:
            choice["finish_reason"] = "tool_calls"

    def _headed(self, answer: dict[str, Any]) -> dict[str, Any]:
        _omit_null(answer)
        if isinstance(usage := answer.get("usage"), dict):
            _omit_null(usage)
        return answer | self._head


async def events_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the data of each event of a stream. Raises SamplingFailed if an event has no end."""
    try:
        async for events in event_stream.events_of(chunks):
            for event in events:
                yield event
    except ValueError as error:
        raise SamplingFailed("The upstream of this model sends an event that is too large.") from error


def _omit_null(value: dict[str, Any]) -> None:
    for name in OMITTED_IF_NULL:
        if value.get(name, "") is None:
            del value[name]


def _without_logprobs(content: bytes) -> tuple[dict[str, Any], list[dict[str, Raw]]]:
    """Return an answer without its log-probabilities, and those of the answer and of each choice.

    Raises SamplingFailed.
    """
    try:
        whole = msgspec.json.decode(content, type=dict[str, Raw])
        parts = [whole, *msgspec.json.decode(whole.pop("choices"), type=list[dict[str, Raw]])]
        kept = [
            {name: found for name in LOGPROBS if (found := part.pop(name, NULL)) != NULL} for part in parts
        ]
        answer, *choices = [
            {name: msgspec.json.decode(value) for name, value in part.items()} for part in parts
        ]
    except (msgspec.MsgspecError, LookupError) as error:
        raise SamplingFailed("The upstream of this model answers in an unknown form (choices).") from error
    return {**answer, "choices": choices}, kept


def _read(form: type[Form], answer: dict[str, Any]) -> Form:
    try:
        return form.model_validate(answer)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise SamplingFailed(f"The upstream of this model answers in an unknown form ({where}).") from error
