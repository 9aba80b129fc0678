"""The rules of a labelled row: one answer and a label that says whether the answer is desirable, for KTO.

Both forms are TRL's: a prompt and a completion, or a conversation whose last message is the answer.
"""

from collections.abc import Iterator
from typing import Any

from core.datasets.chat_rules import list_findings
from core.datasets.common_rules import json_type, missing_findings, row_is_no_object, row_key_findings
from core.datasets.findings import Finding
from core.datasets.preference_rules import (
    Message,
    answer_findings,
    last_role_findings,
    prompt_findings,
    weight_findings,
)
from core.datasets.tool_rules import TOOL_KEYS, tool_findings

CONVERSATION_KEYS = ("messages", "label", "parallel_tool_calls", *TOOL_KEYS)
PROMPT_KEYS = ("prompt", "completion", "label", "parallel_tool_calls", *TOOL_KEYS)
CONVERSATION_FORM = '{"messages": [{"role": …, "content": …}, …], "label": true}'
PROMPT_FORM = '{"prompt": […], "completion": […], "label": true}'


def labelled(row: dict[str, Any]) -> tuple[list[Message], Message, bool]:
    """Return the prompt of a checked row, its answer, and whether the answer is desirable."""
    if labelled_keys(row) is PROMPT_KEYS:
        return row["prompt"], row["completion"][0], row["label"]
    return row["messages"][:-1], row["messages"][-1], row["label"]


def labelled_keys(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the keys that a labelled row of this form may have."""
    return PROMPT_KEYS if "prompt" in row or "completion" in row else CONVERSATION_KEYS


def labelled_findings(row: Any) -> Iterator[Finding]:
    """Yield each mistake of a row that `strict_json.parse` returned."""
    if not isinstance(row, dict):
        yield row_is_no_object(row, CONVERSATION_FORM)
        return
    known = labelled_keys(row)
    has_separate_prompt = known is PROMPT_KEYS
    if has_separate_prompt:
        yield from missing_findings(row, ("prompt", "completion", "label"), PROMPT_FORM)
    else:
        yield from missing_findings(row, ("messages", "label"), CONVERSATION_FORM)
    yield from row_key_findings(row, known)
    yield from tool_findings(row, "")
    if not isinstance(row.get("label", True), bool):
        yield Finding("label", "wrong_type", f"must be true or false, not {json_type(row['label'])}")
    if has_separate_prompt:
        yield from list_findings(row, "prompt", "the message that the answer replies to")
        yield from prompt_findings(row.get("prompt"), "prompt")
        yield from answer_findings(row, "completion")
    else:
        yield from _conversation_findings(row)


def _conversation_findings(row: dict[str, Any]) -> Iterator[Finding]:
    yield from list_findings(row, "messages", "the prompt and the answer")
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return
    yield from last_role_findings(messages, "messages")
    yield from weight_findings(messages, "messages")
    if len(messages) < 2:
        yield Finding("messages", "no_prompt", "has only an answer; add the message that it replies to")
