"""Answers of one turn or of several: the model may call tools, read what they return, and go on."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.endpoints.tools import ToolCall
from core.graders.sample import Sample
from core.ids import new_id
from worker.engine.sampler.rollouts import Generation, Sampled, Turn, turn_of
from worker.grading.tool_results import ToolResults
from worker.rendering.tool_forms import Call, ToolForm
from worker.rendering.tool_reader import ToolReader
from worker.rows.row import Row

MOST_CALLS = 32  # of a turn that goes on
ID_LETTERS = 9  # some chat templates take no other length


@dataclass(frozen=True)
class SampledAnswer:
    """A whole answer to the prompt of one line.

    `tokens` are all that follow the prompt: those of each turn, and between two turns the outputs of tools in
    the form of the chat template. The latter are `given`, and have 0 as log p. `forced` tokens are those that
    the model has not chosen: the given ones, and those of a grammar. `logprobs` are in nats.

    `text` is that of the last turn without its calls, and `calls` are those of all turns. `messages` are the
    answer in OpenAI's form. `finished` is false if the answer was cut off. If a tool has failed, `tool_error`
    says why. The answer then says nothing about the model.
    """

    line: int
    prompt_L: NDArray[np.int32]
    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    forced: NDArray[np.bool_]
    given: NDArray[np.bool_]
    text: str
    finished: bool
    messages: Sequence[dict[str, Any]]
    error: str | None = None
    tool_error: str | None = None
    calls: tuple[ToolCall, ...] = ()
    trace_id: str | None = None

    @property
    def written(self) -> NDArray[np.int32]:
        """The tokens that the model wrote."""
        return self.tokens[~self.given]

    @property
    def sample(self) -> Sample:
        """The answer as graders get it."""
        return Sample(self.text, self.calls, self.trace_id)


@dataclass(frozen=True)
class ToolUse:
    """How a job's answers use tools.

    `form` is how the model writes calls. Calls of the tools in `answered` are answered, and any other call
    ends the answer. An answer has at most `max_turns` turns.
    """

    form: ToolForm
    answered: frozenset[str] = frozenset()
    max_turns: int = 1

    def answers(self, calls: Sequence[ToolCall]) -> bool:
        """Return whether there are calls, all of which are answered."""
        return bool(calls) and all(call.name in self.answered for call in calls)


class Episode:
    """An answer while it is sampled, turn by turn. `needs_turn` and `waits_for` say what comes next."""

    def __init__(self, prompt: Row, number: int, names: frozenset[str], use: ToolUse | None) -> None:
        """`number` counts the answers to the prompt, whose row declares tools with these `names`."""
        self.prompt, self._number, self._names, self._use = prompt, number, names, use
        self.needs_turn = True
        self.waits_for: list[ToolCall] = []
        """The calls whose results come before the next turn"""
        self.messages: list[dict[str, Any]] = []
        self.trace_id = new_id("trace_")
        self._turns: list[Sampled] = []
        self._between: list[NDArray[np.int32]] = []
        self._text, self._calls = "", list[ToolCall]()
        self._is_cut = False
        self._tool_error: str | None = None

    @property
    def is_over(self) -> bool:
        return not (self.needs_turn or self.waits_for)

    @property
    def end_token(self) -> int:
        """The token that ended the last turn."""
        return int(self._turns[-1].tokens[-1])

    @property
    def _after_prompt(self) -> list[NDArray[np.int32]]:
        parts: list[NDArray[np.int32]] = []
        for number, turn in enumerate(self._turns):
            parts += [turn.tokens, *self._between[number : number + 1]]
        return parts

    def next_turn(self, generation: Generation) -> Turn:
        """Return what is sampled next, within the tokens that `generation` allows all turns together."""
        before_L = np.concatenate([self.prompt.tokens_L, *self._after_prompt])
        used = len(before_L) - len(self.prompt.tokens_L)
        at = self._number, len(self._turns), used
        return turn_of(self.prompt.line, before_L, generation, *at, self.prompt.images)

    def add(self, sampled: Sampled, seed: int) -> None:
        """Take the turn that was sampled. The ids of its calls follow from the job's `seed`."""
        self._turns.append(sampled)
        self.needs_turn = False
        self._text, found = self._read(sampled.text)
        calls = [
            ToolCall(self._call_id(seed, number), each.name, each.arguments)
            for number, each in enumerate(found)
        ]
        self._calls += calls
        message: dict[str, Any] = {"role": "assistant", "content": self._text}
        if calls:
            message["tool_calls"] = [call.in_chat_form for call in calls]
        self.messages.append(message)
        if self._use is None or not sampled.finished or not self._use.answers(calls):
            return
        if len(self._turns) < self._use.max_turns and len(calls) <= MOST_CALLS:
            self.waits_for = calls
        else:
            self._is_cut = True

    def take(self, results: ToolResults, most: int) -> None:
        """Take the results of the calls. The answer is cut off if they leave no room within `most` tokens."""
        self.waits_for = []
        if results.error is not None:
            self._tool_error = results.error
            return
        self.messages += results.messages
        used = sum(map(len, self._after_prompt)) + len(results.tokens)
        self._is_cut = used >= most
        if not self._is_cut:
            self._between.append(np.array(results.tokens, np.int32))
            self.needs_turn = True

    def answer(self) -> SampledAnswer:
        """Return the whole answer."""
        first, last = self._turns[0], self._turns[-1]
        parts, is_given = self._after_prompt, [number % 2 == 1 for number in range(len(self._after_prompt))]
        given = np.concatenate([np.full(len(part), each) for part, each in zip(parts, is_given, strict=True)])
        logprobs, forced = np.zeros(len(given), np.float32), np.ones(len(given), np.bool_)
        logprobs[~given] = np.concatenate([turn.logprobs for turn in self._turns])
        forced[~given] = np.concatenate([turn.forced for turn in self._turns])
        return SampledAnswer(
            line=first.line,
            prompt_L=first.prompt_L,
            tokens=np.concatenate(parts),
            logprobs=logprobs,
            forced=forced,
            given=given,
            text=self._text,
            finished=last.finished and not self._is_cut,
            messages=tuple(self.messages),
            error=last.error,
            tool_error=self._tool_error,
            calls=tuple(self._calls),
            trace_id=self.trace_id,
        )

    def _read(self, text: str) -> tuple[str, list[Call]]:
        """Return the text of a turn without its calls, and these."""
        if self._use is None or not self._names:
            return text, []
        reader = ToolReader(self._use.form, self._names)
        found = [*reader.read(text), *reader.end()]
        calls = [each for each in found if isinstance(each, Call)]
        return "".join(each for each in found if isinstance(each, str)), calls

    def _call_id(self, seed: int, number: int) -> str:
        turn = f"{seed}:{self.prompt.line}:{self._number}:{len(self._turns)}:{number}"
        return blake2b(turn.encode()).hexdigest()[:ID_LETTERS]
