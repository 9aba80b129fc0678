"""The rules of a chat row. Each finding says what to do.

The form is that of OpenAI's supervised fine-tuning: `{"messages": [{"role": …, "content": …}, …]}`.
"""

from collections.abc import Iterator
from typing import Any

from core.datasets.common_rules import (
    ABSENT,
    ROLES,
    SURROGATE,
    json_type,
    key_findings,
    missing_findings,
    row_is_no_object,
    row_key_findings,
    surrogate_findings,
)
from core.datasets.findings import Finding, quote
from core.datasets.image_rules import image_findings
from core.datasets.kinds import CHAT_KEYS
from core.datasets.tool_rules import OLD_FORM, call_findings, order_findings, tool_findings
from core.images.parts import TYPE as IMAGE

UNSUPPORTED_KEYS = {"refusal": "refusals are", "audio": "audio is"}
CALLS = ("tool_calls", "function_call")  # a message with one of them needs no content
UNSUPPORTED_PARTS = {
    "input_audio": "audio is",
    "file": "files are",
    "refusal": "refusals are",
}
MESSAGE_KEYS = (
    "role",
    "content",
    "reasoning_content",
    "name",
    "weight",
    "tool_call_id",
    *CALLS,
    *UNSUPPORTED_KEYS,
)
PART_KEYS = ("type", "text")

ROW_FORM = '{"messages": [{"role": …, "content": …}, …]}'


def content_text(content: str | list[dict[str, Any]] | None) -> str:
    """Return the text of a checked message's `content`. The texts of its parts are joined without a space.

    Images have none, and neither may a message that calls a tool.
    """
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def row_findings(row: Any) -> Iterator[Finding]:
    """Yield each mistake of a row that `strict_json.parse` returned."""
    if not isinstance(row, dict):
        yield row_is_no_object(row, ROW_FORM)
        return
    yield from missing_findings(row, ("messages",), ROW_FORM)
    yield from row_key_findings(row, CHAT_KEYS)
    yield from tool_findings(row, "")
    yield from list_findings(row, "messages", "at least one from the assistant")
    if row.get("messages") and isinstance(row["messages"], list):
        yield from conversation_findings(row["messages"])


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
        yield from order_findings(found, at)


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
    yield from call_findings(message, at)
    yield from _reasoning_findings(message, at)
    says_otherwise = unsupported or any(message.get(key) not in ABSENT for key in CALLS)
    if not says_otherwise or message.get("content") is not None:
        yield from _content_findings(message, at, may_be_empty=bool(says_otherwise))
    yield from _name_findings(message, at)
    yield from _weight_findings(message, at)


def _reasoning_findings(message: dict[str, Any], at: str) -> Iterator[Finding]:
    reasoning, at = message.get("reasoning_content"), f"{at}.reasoning_content"
    if reasoning in ABSENT:
        return
    if message.get("role") != "assistant":
        yield Finding(at, "misplaced", "only assistant messages have a reasoning; remove it")
    elif not isinstance(reasoning, str):
        yield Finding(at, "wrong_type", f"must be a string, not {json_type(reasoning)}")
    else:
        yield from surrogate_findings(reasoning, at)


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
    elif role == "function":
        yield Finding(f"{at}.role", "unsupported", OLD_FORM.format(new="the role tool"))
    elif role not in ROLES:
        yield Finding(
            f"{at}.role", "unknown_role", f"unknown role {quote(role)}; use one of {', '.join(ROLES)}"
        )


def _content_findings(message: dict[str, Any], at: str, may_be_empty: bool) -> Iterator[Finding]:
    at = f"{at}.content"
    content = message.get("content")
    if isinstance(content, list):
        mistaken = False
        for index, part in enumerate(content):
            for finding in _part_findings(part, f"{at}[{index}]", message.get("role")):
                mistaken = True
                yield finding
        if mistaken:
            return
    elif content is None:
        yield Finding(at, "missing", "the message has no content; add its text")
        return
    elif not isinstance(content, str):
        yield Finding(at, "wrong_type", f"must be a string or an array of parts, not {json_type(content)}")
        return
    text = content_text(content)
    is_empty = content == [] or (not text and message.get("role") == "assistant")
    if is_empty and not may_be_empty:
        yield Finding(at, "empty", "is empty; add the text, or remove the message")
    yield from surrogate_findings(text, at)


def _part_findings(part: Any, at: str, role: Any) -> Iterator[Finding]:
    if not isinstance(part, dict):
        yield Finding(at, "not_an_object", f"a part must be an object, not {json_type(part)}")
        return
    kind = part.get("type")
    if isinstance(kind, str) and kind in UNSUPPORTED_PARTS:
        yield Finding(at, "unsupported", f"{UNSUPPORTED_PARTS[kind]} not supported yet; remove the part")
        return
    if kind == IMAGE:
        yield from image_findings(part, at, role)
        return
    yield from key_findings(part, at, PART_KEYS)
    if kind != "text":
        yield Finding(f"{at}.type", "unknown_part", 'must be "text" or "image_url"')
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
