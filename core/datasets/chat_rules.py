"""The rules of a chat row. Each finding says what to do.

The form is that of OpenAI's supervised fine-tuning: `{"messages": [{"role": …, "content": …}, …]}`.
"""

import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from core.datasets.findings import QUOTE_LENGTH, Finding, quote
from core.strict_json import RepeatedKeys

ROLES = ("system", "developer", "user", "assistant")
UNSUPPORTED_ROLES = ("tool", "function")
TOOL_KEYS = ("tools", "functions")
UNSUPPORTED_KEYS = {
    "tool_calls": "tool calls are",
    "tool_call_id": "tool calls are",
    "function_call": "function calls are",
    "refusal": "refusals are",
    "audio": "audio is",
}
UNSUPPORTED_PARTS = {
    "image_url": "images are",
    "input_audio": "audio is",
    "file": "files are",
    "refusal": "refusals are",
}
ROW_KEYS = ("messages", "parallel_tool_calls", *TOOL_KEYS)
MESSAGE_KEYS = ("role", "content", "name", "weight", *UNSUPPORTED_KEYS)
PART_KEYS = ("type", "text")
ABSENT: tuple[Any, ...] = (None, [])  # values that clients send for a key that they do not use

ROW_FORM = '{"messages": [{"role": …, "content": …}, …]}'
SURROGATE = re.compile("[\ud800-\udfff]")


def content_text(content: str | list[dict[str, Any]]) -> str:
    """Return the text of a checked message's `content`. The texts of its parts are joined without a space."""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def row_findings(row: Any) -> Iterator[Finding]:
    """Yield each mistake of a row that `strict_json.parse` returned."""
    if not isinstance(row, dict):
        yield row_is_no_object(row, ROW_FORM)
        return
    yield from missing_findings(row, ("messages",), ROW_FORM)
    yield from key_findings(row, "", ROW_KEYS)
    yield from tool_findings(row, "")
    yield from list_findings(row, "messages", "at least one from the assistant")
    if row.get("messages") and isinstance(row["messages"], list):
        yield from conversation_findings(row["messages"])


def row_is_no_object(row: Any, form: str) -> Finding:
    """Return the finding on a row that is no JSON object; `form` shows what to write."""
    return Finding("", "not_an_object", f"a row must be an object, not {json_type(row)}; write {form}")


def missing_findings(row: dict[str, Any], keys: tuple[str, ...], form: str) -> Iterator[Finding]:
    """Yield a finding for each of `keys` that the row lacks; `form` shows what to write."""
    for key in keys:
        if key not in row:
            yield Finding(key, "missing", f"the row has no {key}; write {form}")


def list_findings(holder: dict[str, Any], key: str, wanted: str, prefix: str = "") -> Iterator[Finding]:
    """Yield what is wrong with the list of messages at `key`, if there is one.

    `wanted` says what to add to an empty list. `prefix` is the path to `holder`.
    """
    at = f"{prefix}{key}"
    if key not in holder:
        return
    found = holder[key]
    if not isinstance(found, list):
        yield Finding(at, "wrong_type", f"must be an array of messages, not {json_type(found)}")
    elif not found:
        yield Finding(at, "empty", f"has no messages; add {wanted}")
    else:
        for index, message in enumerate(found):
            yield from message_findings(message, f"{at}[{index}]")


def tool_findings(holder: dict[str, Any], prefix: str) -> Iterator[Finding]:
    """Yield what is wrong with the keys for tools. `prefix` is the path to `holder`."""
    for key in TOOL_KEYS:
        if holder.get(key) not in ABSENT:
            yield Finding(f"{prefix}{key}", "unsupported", f"tools are not supported yet; remove {key}")
    if not isinstance(holder.get("parallel_tool_calls"), bool | None):
        yield Finding(f"{prefix}parallel_tool_calls", "wrong_type", "must be true or false")


def message_findings(message: Any, at: str) -> Iterator[Finding]:
    """Yield what is wrong with one message. `at` is the path to it."""
    if not isinstance(message, dict):
        yield Finding(at, "not_an_object", f"a message must be an object, not {json_type(message)}")
        return
    yield from key_findings(message, at, MESSAGE_KEYS)
    yield from _role_findings(message, at)
    unsupported = [key for key in UNSUPPORTED_KEYS if message.get(key) not in ABSENT]
    for key in unsupported:
        what = UNSUPPORTED_KEYS[key]
        yield Finding(f"{at}.{key}", "unsupported", f"{what} not supported yet; remove {key}")
    if not unsupported:  # a message that calls a tool needs no content
        yield from _content_findings(message, at)
    yield from _name_findings(message, at)
    yield from _weight_findings(message, at)


def _name_findings(message: dict[str, Any], at: str) -> Iterator[Finding]:
    name = message.get("name")
    if name is not None and (not isinstance(name, str) or not name or SURROGATE.search(name)):
        yield Finding(f"{at}.name", "invalid_name", "must be a string that is not empty")


def _weight_findings(message: dict[str, Any], at: str) -> Iterator[Finding]:
    weight = message.get("weight")
    if weight is None:
        return
    if message.get("role") != "assistant":
        yield Finding(
            f"{at}.weight", "misplaced_weight", "only assistant messages can have a weight; remove it"
        )
    elif not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight <= 1:
        yield Finding(
            f"{at}.weight",
            "invalid_weight",
            "must be a number from 0 (do not learn this message) to 1 (learn it fully)",
        )


def _role_findings(message: dict[str, Any], at: str) -> Iterator[Finding]:
    if "role" not in message:
        yield Finding(f"{at}.role", "missing", f"the message has no role; use one of {', '.join(ROLES)}")
        return
    role = message["role"]
    if not isinstance(role, str):
        yield Finding(f"{at}.role", "wrong_type", f"must be a string, not {json_type(role)}")
    elif role in UNSUPPORTED_ROLES:
        yield Finding(
            f"{at}.role", "unsupported", f"{role} messages are not supported yet; remove this message"
        )
    elif role not in ROLES:
        yield Finding(
            f"{at}.role", "unknown_role", f"unknown role {quote(role)}; use one of {', '.join(ROLES)}"
        )


def _content_findings(message: dict[str, Any], at: str) -> Iterator[Finding]:
    at = f"{at}.content"
    content = message.get("content")
    if isinstance(content, list):
        mistaken = False
        for index, part in enumerate(content):
            for finding in _part_findings(part, at, index):
                mistaken = True
                yield finding
        if mistaken:
            return
    elif content is None:
        yield Finding(at, "missing", "the message has no content; add its text")
        return
    elif not isinstance(content, str):
        yield Finding(
            at, "wrong_type", f"must be a string or an array of text parts, not {json_type(content)}"
        )
        return
    text = content_text(content)
    if content == [] or (not text and message.get("role") == "assistant"):
        yield Finding(at, "empty", "is empty; add the text, or remove the message")
    surrogate = SURROGATE.search(text)
    if surrogate:
        escape = f"\\u{ord(surrogate[0]):04x}"
        yield Finding(
            at, "lone_surrogate", f"has {escape} alone, half of a character; write the whole character"
        )


def _part_findings(part: Any, content: str, index: int) -> Iterator[Finding]:
    at = f"{content}[{index}]"
    if not isinstance(part, dict):
        yield Finding(at, "not_an_object", f"a part must be an object, not {json_type(part)}")
        return
    kind = part.get("type")
    if isinstance(kind, str) and kind in UNSUPPORTED_PARTS:
        yield Finding(at, "unsupported", f"{UNSUPPORTED_PARTS[kind]} not supported yet; remove the part")
        return
    yield from key_findings(part, at, PART_KEYS)
    if kind != "text":
        yield Finding(f"{at}.type", "unknown_part", 'must be "text"')
    if not isinstance(part.get("text"), str):
        yield Finding(f"{at}.text", "missing", "the part has no text; add it")


def conversation_findings(messages: list[Any]) -> Iterator[Finding]:
    """Yield what is wrong with the order and the weights of a chat row's messages."""
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    answers = [message for role, message in zip(roles, messages, strict=True) if role == "assistant"]
    if not answers:
        yield Finding(
            "messages",
            "no_assistant_message",
            "no message is from the assistant; add the answer that the model should learn",
        )
        return
    if roles[-1] not in (None, "assistant"):
        yield Finding(
            f"messages[{len(messages) - 1}].role",
            "last_not_assistant",
            "the last message must be from the assistant; add an answer, or end the row at the last answer",
        )
    if all(answer.get("weight") == 0 for answer in answers):
        yield Finding(
            "messages",
            "nothing_to_learn",
            "every assistant message has weight 0; give at least one a higher weight",
        )


def key_findings(found: dict[str, Any], at: str, known: tuple[str, ...]) -> Iterator[Finding]:
    """Yield what is wrong with the keys of an object: a repeated key, and keys that are not `known`."""
    if isinstance(found, RepeatedKeys):
        yield Finding(at, "duplicate_key", f"the key {quote(found.key)} occurs twice; remove one")
    for key in found:
        if key in known:
            continue
        near = get_close_matches(key[:QUOTE_LENGTH], known, n=1)
        advice = f"did you mean {quote(near[0])}?" if near else "remove it"
        yield Finding(at, "unknown_key", f"unknown key {quote(key)}; {advice}")


def json_type(value: Any) -> str:
    """Return the type of a JSON value in words that fit into a sentence, such as "an array"."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    kinds: dict[type, str] = {dict: "an object", list: "an array", str: "a string"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "a number")
