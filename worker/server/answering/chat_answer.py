"""One answer to a chat, as far as it is known: its text, and the calls of tools in it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec import Raw

from core.ids import new_id
from core.serving.schemas.answers import AnsweredFunction, AnsweredToolCall, AnswerMessage, FinishReason
from worker.rendering.tool_reader import Found, ToolReader
from worker.server.sampling.answer_stream import Increment


@dataclass
class ChatAnswer:
    """Without a reader, all of the answer is text. With `one_call`, nothing counts after its first call.

    The log-probabilities are JSON, of the answer's tokens and of the prompt's.
    """

    reader: ToolReader | None
    one_call: bool = False
    text: str = ""
    calls: list[AnsweredToolCall] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    logprobs: list[Raw] = field(default_factory=list)
    prompt_logprobs: list[Raw | None] = field(default_factory=list)

    def take(self, increment: Increment) -> list[str | AnsweredToolCall]:
        """Add the text of an increment, and return what has become certain by it."""
        found = list(self._certain(increment))
        if increment.last is not None:
            ended: FinishReason = "tool_calls" if self.calls else "stop"
            self.finish_reason = "length" if increment.last.finish_reason == "length" else ended
        return found

    @property
    def message(self) -> AnswerMessage:
        """The whole message. One that consists of calls has no text."""
        content = self.text if self.text or not self.calls else None
        if not self.calls:
            return AnswerMessage(role="assistant", content=content, refusal=None)
        return AnswerMessage(role="assistant", content=content, refusal=None, tool_calls=self.calls)

    def _certain(self, increment: Increment) -> Iterator[str | AnsweredToolCall]:
        for each in self._read(increment):
            if self.one_call and self.calls:
                return
            if isinstance(each, str):
                self.text += each
                yield each
            else:
                function = AnsweredFunction(name=each.name, arguments=each.arguments)
                self.calls.append(AnsweredToolCall(id=new_id("call_"), type="function", function=function))
                yield self.calls[-1]

    def _read(self, increment: Increment) -> list[Found]:
        if self.reader is None:
            return [increment.text] if increment.text else []
        return self.reader.read(increment.text) + (self.reader.end() if increment.last is not None else [])
