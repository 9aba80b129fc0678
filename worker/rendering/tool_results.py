"""Renders the results of tools behind an answer that has called them, up to where the model goes on."""

import json
from collections.abc import Sequence
from typing import Any

from core.errors import JobError
from worker.rendering.render import TURNS_CHANGE
from worker.rendering.row_template import REFUSALS, RowTemplate

Message = dict[str, Any]

IN_CALLS, IN_RESULTS = "arguments5d1c02b7", "result5d1c02b7"
"""Texts that stand for the arguments of calls, and for the first result, to find where these are rendered"""


def tokens_after_calls(
    tokenizer: Any, row: dict[str, Any], answer: Sequence[Message], end_token: int
) -> list[int]:
    """Return the tokens from the end of a turn to the beginning of the next one.

    `answer` are the messages of the answer so far. They end with the turn that has called tools and the
    results, and `end_token` is the last token of this turn as it was sampled. What the model wrote is not
    rendered again, because a template may write it with other tokens, or refuse its arguments.

    Raises JobError if the template refuses the messages, or renders the turn differently once results follow.
    """
    template = RowTemplate(tokenizer, row)
    called = [_with_marked_arguments(message) for message in answer]
    results = next(count for count, message in enumerate(reversed(called)) if message["role"] != "tool")
    first = len(called) - results
    marked = [*called[:first], {**called[first], "content": IN_RESULTS}, *called[first + 1 :]]
    try:
        text, with_marks = (
            template.apply_chat_template(
                template.plain((*row["messages"], *messages)),
                tokenize=False,
                add_generation_prompt=True,
            )
            for messages in (called, marked)
        )
        before = _up_to_end_of_turn(with_marks, tokenizer.decode([end_token]))
        if before is None:
            turn = template.plain((*row["messages"], *called[:first]))
            before = template.apply_chat_template(turn, tokenize=False)
    except REFUSALS as error:
        raise _refusal(str(error)) from error
    if not text.startswith(before):
        raise _refusal(TURNS_CHANGE)
    found: list[int] = template(text[len(before) :], add_special_tokens=False)["input_ids"]
    return found


def _with_marked_arguments(message: Message) -> Message:
    arguments = json.dumps({IN_CALLS: ""})
    calls = [
        {**call, "function": {**call["function"], "arguments": arguments}}
        for call in message.get("tool_calls") or ()
    ]
    return {**message, "tool_calls": calls} if calls else message


def _up_to_end_of_turn(text: str, end: str) -> str | None:
    """Return the text up to the end of the last turn with calls; None if `end` does not stand there."""
    calls = text.rfind(IN_CALLS)
    place = text.rfind(end, calls, text.find(IN_RESULTS, calls)) if end and calls >= 0 else -1
    return None if place < 0 else text[: place + len(end)]


def _refusal(reason: str) -> JobError:
    return JobError("tool_error", f"The base model's chat template takes no results of tools: {reason}.")
