"""The base model's tokenizer and chat template as one row needs them: with the row's tools.

Servers give templates the same form (`worker/server/answering/prompts.py`): a model is asked as it was
trained.
"""

from typing import Any

from core.datasets.chat_rules import content_text
from core.datasets.common_rules import ABSENT
from core.datasets.kinds import Kind
from core.datasets.template_needs import missing_needs, needs_of, needs_served
from core.datasets.tool_rules import parsed_arguments, tools_of
from core.errors import JobError

Message = dict[str, Any]

TOOL_KEYS = ("name", "description", "parameters", "strict")


class RowTemplate:
    """Renders conversations of one row, and turns their texts into tokens."""

    def __init__(self, tokenizer: Any, row: dict[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._tools = [_tool(each) for each in tools_of(row)] or None

    def __call__(self, text: str, **options: Any) -> Any:
        return self._tokenizer(text, **options)

    def apply_chat_template(self, messages: list[Message], **options: Any) -> Any:
        return self._tokenizer.apply_chat_template(messages, tools=self._tools, **options)


def template_for(
    tokenizer: Any, row: dict[str, Any], kind: Kind, line: int, param: str | None
) -> RowTemplate:
    """Return the template for one row. Raises JobError if it has no place for a part of it."""
    needs = needs_of(row, kind)
    if needs:
        refusal = missing_needs(dict.fromkeys(needs, line), needs_served(tokenizer.chat_template), param)
        if refusal is not None:
            raise JobError(*refusal, param)
    return RowTemplate(tokenizer, row)


def plain(message: Message) -> Message:
    """Return a message as templates expect it.

    Its content is a text, `developer` is `system`, keys without a value are left out, and the arguments of
    calls are objects: templates write them as JSON themselves.
    """
    kept = {key: value for key, value in message.items() if value not in ABSENT}
    kept["role"] = "system" if message["role"] == "developer" else message["role"]
    kept["content"] = content_text(message.get("content"))
    if "tool_calls" in kept:
        kept["tool_calls"] = [_call(call) for call in kept["tool_calls"]]
    return kept


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = {"name": call["function"]["name"], "arguments": parsed_arguments(call)}
    return {"id": call["id"], "type": "function", "function": function}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool with its keys in the order of OpenAI's document: some templates write it as it is."""
    function = {key: tool["function"][key] for key in TOOL_KEYS if tool["function"].get(key) is not None}
    return {"type": "function", "function": function}
