"""Brings rows with tools into OpenAI's present form: from its old form with functions, and from TRL's.

In other forms, calls and answers of tools have no ids, arguments are objects, declarations have no `function`
around them, and columns of tables hold JSON as a text.
"""

import json
from typing import Any

Row = dict[str, Any]
Message = dict[str, Any]

CONVERSATIONS = (
    "messages",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "preferred_output",
    "non_preferred_output",
)


class WrongRow(Exception):
    """A row is not of the shape of the file's first row. `field` is the path to the mistake."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def has_other_form(row: Row) -> bool:
    """Return whether a row keeps its tools in another form than OpenAI's present one."""
    if row.get("functions") or isinstance(row.get("tools"), str):
        return True
    if any("function" not in tool for tool in _objects(row.get("tools"))):
        return True
    messages = [each for key in CONVERSATIONS for each in _objects(row.get(key))]
    if any(each.get("function_call") or each.get("role") == "function" for each in messages):
        return True
    calls = [call for each in messages for call in _objects(each.get("tool_calls"))]
    return any(isinstance(_function(call).get("arguments"), dict) for call in calls)


def in_openais_form(row: Row) -> Row:
    """Return the row in OpenAI's present form. What it does not understand stays as it is."""
    found = {key: value for key, value in row.items() if key not in ("tools", "functions")}
    tools = json_in(row, "tools") or row.get("functions")
    if tools:
        found["tools"] = [_declared(tool, index) for index, tool in enumerate(list_of(tools, "tools"))]
    for key in CONVERSATIONS:
        if isinstance(row.get(key), list):
            found[key] = with_ids(row[key])
    if isinstance(row.get("input"), dict):
        found["input"] = in_openais_form(row["input"])
    return found


def with_ids(messages: list[Any]) -> list[Any]:
    """Return the messages with `tool_calls` in OpenAI's form, and an id at each call and its answer."""
    found: list[Any] = []
    waiting: list[str] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            found.append(message)
            continue
        made = _message(message, index)
        if made.get("role") == "tool":
            if waiting and made.get("tool_call_id") is None:
                made["tool_call_id"] = waiting[0]
            waiting = [each for each in waiting if each != made.get("tool_call_id")]
        else:
            waiting = [call["id"] for call in _objects(made.get("tool_calls")) if "id" in call]
        found.append(made)
    return found


def json_in(row: Row, key: str) -> Any:
    """Return a value that a table may keep as JSON in a text."""
    found = row.get(key)
    return parsed(found, key) if isinstance(found, str) and found.strip() else found or None


def parsed(text: str, field: str) -> Any:
    """Return the value of JSON in a text. Raises WrongRow."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise WrongRow(field, "must be JSON in a text") from None


def list_of(found: Any, key: str) -> list[Any]:
    """Return an array; a value that is absent is an empty one. Raises WrongRow."""
    if not isinstance(found or [], list):
        raise WrongRow(key, "must be an array")
    return found or []


def _message(message: Message, index: int) -> Message:
    made = {key: value for key, value in message.items() if key != "function_call"}
    if made.get("role") == "function":
        made["role"] = "tool"
        made.pop("name", None)
    calls = json_in(message, "tool_calls") if isinstance(message.get("tool_calls"), str) else None
    calls = (
        calls
        or message.get("tool_calls")
        or ([message["function_call"]] if message.get("function_call") else [])
    )
    if isinstance(calls, list) and calls:
        made["tool_calls"] = [_call(call, f"call_{index}_{number}") for number, call in enumerate(calls)]
        made.setdefault("content", None)
    return made


def _call(call: Any, id: str) -> Any:
    """Return a call in OpenAI's form, whose arguments are JSON in a text."""
    if not isinstance(call, dict):
        return call
    function = dict(_function(call))
    if not isinstance(function.get("arguments"), str):
        function["arguments"] = json.dumps(function.get("arguments") or {}, ensure_ascii=False)
    more = {key: value for key, value in call.items() if key not in ("function", "name", "arguments")}
    return {"id": id, "type": "function", **more, "function": function}


def _function(call: Row) -> Row:
    found = call.get("function")
    if isinstance(found, dict):
        return found
    return {key: call[key] for key in ("name", "arguments") if key in call}


def _declared(tool: Any, index: int) -> Row:
    """Return a declaration in OpenAI's form, whose parameters are not text."""
    if not isinstance(tool, dict):
        raise WrongRow(f"tools[{index}]", "must be an object")
    function = tool.get("function", {key: each for key, each in tool.items() if key != "type"})
    if isinstance(function, dict) and isinstance(function.get("parameters"), str):
        function = {**function, "parameters": json_in(function, "parameters")}
    return {"type": tool.get("type", "function") if "function" in tool else "function", "function": function}


def _objects(found: Any) -> list[Row]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
