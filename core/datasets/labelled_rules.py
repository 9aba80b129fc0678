"""The rules of a row with one answer and a label that says whether it is desirable, as KTO takes it.

Two forms, TRL's both: a prompt and a completion, or a conversation whose last message is the answer.
"""

from collections.abc import Iterator
from typing import Any

from core.datasets.chat_rules import TOOL_KEYS, json_type, key_findings, list_findings, tool_findings
from core.datasets.findings import Finding
from core.datasets.preference_rules import (
    Message,
    answer_findings,
    last_is_answer,
    missing_findings,
    prompt_findings,
    weightless_findings,
)

CONVERSATION_KEYS = ("messages", "label", "parallel_tool_calls", *TOOL_KEYS)
PROMPT_KEYS = ("prompt", "completion", "label", "parallel_tool_calls", *TOOL_KEYS)
CONVERSATION_FORM = '{"messages": [{"role": …, "content": …}, …], "label": true}'
PROMPT_FORM = '{"prompt": […], "completion": […], "label": true}'


def labelled(row: dict[str, Any]) -> tuple[list[Message], Message, bool]:
    """The prompt of a checked row, the answer, and whether it is desirable."""
    if "messages" in row:
        return row["messages"][:-1], row["messages"][-1], row["label"]
    return row["prompt"], row["completion"][0], row["label"]


def labelled_findings(row: Any) -> Iterator[Finding]:
    """What is wrong with a row that `strict_json.parse` returned, mistake by mistake."""
    if not isinstance(row, dict):
        yield Finding(
            "", "not_an_object", f"a row is an object, not {json_type(row)}; write {CONVERSATION_FORM}"
        )
        return
    apart = "prompt" in row or "completion" in row
    if apart:
        yield from missing_findings(row, ("prompt", "completion", "label"), PROMPT_FORM)
        yield from key_findings(row, "", PROMPT_KEYS)
    else:
        yield from missing_findings(row, ("messages", "label"), CONVERSATION_FORM)
        yield from key_findings(row, "", CONVERSATION_KEYS)
    yield from tool_findings(row, "")
    if not isinstance(row.get("label", True), bool):
        yield Finding("label", "wrong_type", f"must be true or false, not {json_type(row['label'])}")
    if apart:
        yield from list_findings(row, "prompt", "what the answer replies to")
        yield from prompt_findings(row.get("prompt"), "prompt")
        yield from answer_findings(row, "completion")
    else:
        yield from _conversation_findings(row)


def _conversation_findings(row: dict[str, Any]) -> Iterator[Finding]:
    yield from list_findings(row, "messages", "the prompt and the answer")
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return
    yield from last_is_answer(messages, "messages")
    yield from weightless_findings(messages, "messages")
    if len(messages) < 2:
        yield Finding("messages", "no_prompt", "holds an answer alone; add what it replies to before it")
