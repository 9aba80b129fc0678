"""Renders the results of tools behind an answer that has called them, up to where the model goes on."""

from collections.abc import Sequence
from typing import Any

from core.errors import JobError
from worker.rendering.render import REFUSALS, TURNS_CHANGE
from worker.rendering.row_template import RowTemplate, plain

Message = dict[str, Any]


def tokens_after_calls(
    tokenizer: Any, row: dict[str, Any], answer: Sequence[Message], end_token: int
) -> list[int]:
    """Return the tokens from the end of a turn to the beginning of the next one.

    `answer` are the messages of the answer so far. They end with the turn that has called tools and the
    results, and `end_token` is the last token of this turn as it was sampled. What the model wrote is not
    rendered again, because a template may write it with other tokens.

    Raises JobError if the template refuses the messages, or renders the turn differently once results follow.
    """
    template = RowTemplate(tokenizer, row)
    results = next(n for n, message in enumerate(reversed(answer)) if message["role"] != "tool")
    try:
        messages = [plain(message) for message in (*row["messages"], *answer)]
        before = template.apply_chat_template(messages[: len(messages) - results], tokenize=False)
        text = template.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except REFUSALS as error:
        raise _refusal(str(error)) from error
    if not text.startswith(before):
        raise _refusal(TURNS_CHANGE)
    gap = before.rpartition(tokenizer.decode([end_token]))[2]
    if gap.strip():  # the template ends turns in another way
        gap = ""
    found: list[int] = template(gap + text[len(before) :], add_special_tokens=False)["input_ids"]
    return found


def _refusal(reason: str) -> JobError:
    return JobError("tool_error", f"The base model's chat template takes no results of tools: {reason}.")
