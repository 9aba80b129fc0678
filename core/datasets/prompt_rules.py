"""The rules of a prompt: a conversation that waits for an answer, for reinforcement.

The form is that of OpenAI's reinforcement fine-tuning. The messages and the tools are what the model sees.
All other keys are for graders, and may hold any JSON.
"""

from collections.abc import Iterator
from typing import Any

from core.datasets.chat_rules import list_findings
from core.datasets.common_rules import missing_findings, row_is_no_object, row_key_findings
from core.datasets.findings import Finding
from core.datasets.preference_rules import weight_findings
from core.datasets.tool_rules import tool_findings

PROMPT_FORM = '{"messages": [{"role": "user", "content": …}], …}'


def prompt_keys(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the keys that this prompt may have: all that it has."""
    return tuple(row)


def prompt_findings(row: Any) -> Iterator[Finding]:
    """Yield each mistake of a row that `strict_json.parse` returned."""
    if not isinstance(row, dict):
        yield row_is_no_object(row, PROMPT_FORM)
        return
    yield from missing_findings(row, ("messages",), PROMPT_FORM)
    yield from row_key_findings(
        row, ("messages",)
    )  # a misspelt key is only known if the row lacks its prompt
    yield from tool_findings(row, "")
    yield from list_findings(row, "messages", "at least one from the user")
    messages = row.get("messages")
    if messages and isinstance(messages, list):
        yield from weight_findings(messages, "messages")
        yield from _last_role_findings(messages)


def _last_role_findings(messages: list[Any]) -> Iterator[Finding]:
    at, last = f"messages[{len(messages) - 1}].role", messages[-1]
    role = last.get("role") if isinstance(last, dict) else None
    if role == "assistant":
        message = (
            "the last message of a prompt must be the user's, because the model answers it in training; "
            "remove the answer, or put rows with answers in a file of their own"
        )
        yield Finding(at, "last_is_assistant", message)
    elif role in ("system", "developer"):
        message = "the last message of a prompt must be the user's; add what the model shall answer"
        yield Finding(at, "last_not_user", message)
