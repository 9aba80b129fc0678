"""The rules of tools: those that a row declares, the calls of its assistant, and the answers of the tools.

The form is OpenAI's. What a chat template could not render is a mistake of the row. What it could render, but
what teaches something wrong, such as a call of a tool that is not declared, is for the check of the content.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from core.datasets import strict_json
from core.datasets.common_rules import ABSENT, json_type, key_findings, surrogate_findings
from core.datasets.findings import Finding, quote
from core.strict_json import RepeatedKeys

MOST_TOOLS = 128
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
TOOL_KEYS = ("tools", "functions")
OLD_FORM = "is OpenAI's old form; write {new}, or convert the file by `tunery files convert`"
DRAFT = "$schema"


def tools_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tools that a checked row of any kind declares."""
    asked = row.get("input")
    found = row.get("tools") or (asked.get("tools") if isinstance(asked, dict) else None)
    return found or []


def parsed_arguments(call: dict[str, Any]) -> Any:
    """Return the arguments of a call as templates take them: an object, or the text if it is not JSON."""
    text = call["function"]["arguments"]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def tool_findings(holder: dict[str, Any], prefix: str) -> Iterator[Finding]:
    """Yield what is wrong with the keys for tools. `prefix` is the path to `holder`."""
    if holder.get("functions") not in ABSENT:
        yield Finding(f"{prefix}functions", "unsupported", OLD_FORM.format(new="tools"))
    if not isinstance(holder.get("parallel_tool_calls"), bool | None):
        yield Finding(f"{prefix}parallel_tool_calls", "wrong_type", "must be true or false")
    tools, at = holder.get("tools"), f"{prefix}tools"
    if tools in ABSENT:
        return
    if not isinstance(tools, list):
        yield Finding(at, "wrong_type", f"must be an array of tools, not {json_type(tools)}")
        return
    if len(tools) > MOST_TOOLS:
        yield Finding(at, "too_many_tools", f"has {len(tools)} tools; at most {MOST_TOOLS} are allowed")
        return
    names: set[str] = set()
    for index, tool in enumerate(tools):
        yield from _declaration_findings(tool, f"{at}[{index}]", names)


def call_findings(message: dict[str, Any], at: str) -> Iterator[Finding]:
    """Yield what is wrong with a message's keys for calls. `at` is the path to the message."""
    role = message.get("role")
    if message.get("function_call") not in ABSENT:
        yield Finding(f"{at}.function_call", "unsupported", OLD_FORM.format(new="tool_calls"))
    if message.get("tool_calls") not in ABSENT:
        if role == "assistant":
            yield from _calls_findings(message["tool_calls"], f"{at}.tool_calls")
        else:
            yield Finding(f"{at}.tool_calls", "misplaced", "only assistant messages call tools; remove it")
    found = message.get("tool_call_id")
    if role != "tool":
        if found not in ABSENT:
            yield Finding(f"{at}.tool_call_id", "misplaced", "only tool messages answer a call; remove it")
    elif not isinstance(found, str) or not found:
        advice = "write the id of the call that this message answers"
        yield Finding(f"{at}.tool_call_id", "missing", f"the message has no tool_call_id; {advice}")


def order_findings(messages: list[Any], at: str) -> Iterator[Finding]:
    """Yield each tool message that answers no call of the assistant's message before it."""
    called: set[str] = set()
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            continue
        if message.get("role") != "tool":
            called = {call["id"] for call in _right_calls(message)}
            continue
        answered = message.get("tool_call_id")
        if not isinstance(answered, str) or not answered:
            continue  # `call_findings` says so
        if answered not in called:
            waiting = ", ".join(map(quote, sorted(called)[:3])) or "none"
            yield Finding(
                f"{at}[{index}].tool_call_id",
                "unknown_call",
                f"{quote(answered)} is not a call that waits for an answer here (waiting: {waiting}); write "
                "the id of a call in the assistant's message before it",
            )
        called.discard(answered)


def _right_calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    found = calls if isinstance(calls, list) else []
    return [call for call in found if isinstance(call, dict) and isinstance(call.get("id"), str)]


def _declaration_findings(tool: Any, at: str, names: set[str]) -> Iterator[Finding]:
    """Yield what is wrong with a declared tool. `names` are those of the tools before it."""
    if not isinstance(tool, dict):
        yield Finding(at, "not_an_object", f"a tool must be an object, not {json_type(tool)}")
        return
    yield from key_findings(tool, at, ("type", "function"))
    yield from _type_findings(tool, at)
    function, at = tool.get("function"), f"{at}.function"
    if not isinstance(function, dict):
        form = 'write {"type": "function", "function": {"name": …, "parameters": …}}'
        yield Finding(at, "missing" if function is None else "not_an_object", f"must be an object; {form}")
        return
    yield from key_findings(function, at, ("name", "description", "parameters", "strict"))
    for key, wanted, words in (("description", str, "a string"), ("strict", bool, "true or false")):
        if not isinstance(function.get(key), wanted | None):
            yield Finding(f"{at}.{key}", "wrong_type", f"must be {words}, not {json_type(function[key])}")
    name_is_wrong = list(_name_findings(function, at))
    yield from name_is_wrong
    if not name_is_wrong and function["name"] in names:
        yield Finding(f"{at}.name", "duplicate_tool", "a tool before it has this name; rename or remove it")
    elif not name_is_wrong:
        names.add(function["name"])
    yield from _parameters_findings(function.get("parameters"), f"{at}.parameters")
    yield from _text_findings(function, at)


def _parameters_findings(parameters: Any, at: str) -> Iterator[Finding]:
    """Yield why the parameters of a tool are not a JSON schema of an object."""
    if parameters is None:
        return
    if not isinstance(parameters, dict):
        yield Finding(at, "wrong_type", f"must be a JSON schema, an object, not {json_type(parameters)}")
        return
    if parameters.get("type", "object") != "object":
        yield Finding(f"{at}.type", "invalid_schema", 'must be "object": a call has its arguments by name')
        return
    schema = {key: value for key, value in parameters.items() if key != DRAFT}
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        reason = repr(error.message[:120])[1:-1]
        yield Finding(f"{at}{_shown(path)}", "invalid_schema", f"is not as a JSON schema has it: {reason}")
    except ValueError:  # half of a character, or a number that is too large
        yield Finding(
            at, "invalid_schema", "is not a JSON schema that can be read; simplify its texts and numbers"
        )


def _shown(path: str) -> str:
    return path if path.isprintable() and len(path) <= 200 else repr(path[:200])[1:-1]


def _text_findings(value: Any, at: str) -> Iterator[Finding]:
    """Yield a finding if any text in the value has half of a character."""
    try:
        yield from surrogate_findings(json.dumps(value, ensure_ascii=False), at)
    except RecursionError:
        yield Finding(at, "too_deep", "is nested too deeply; flatten it")


def _type_findings(found: dict[str, Any], at: str) -> Iterator[Finding]:
    if found.get("type") != "function":
        message = 'must be "function": tools of other types are not supported'
        if "type" in found:
            yield Finding(f"{at}.type", "unknown_type", message)
        else:
            yield Finding(f"{at}.type", "missing", message)


def _name_findings(function: dict[str, Any], at: str) -> Iterator[Finding]:
    name = function.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        rule = "must be a name of 1 to 64 letters, digits, _ and -"
        code = "missing" if name is None else "invalid_name"
        yield Finding(f"{at}.name", code, rule)


def _calls_findings(calls: Any, at: str) -> Iterator[Finding]:
    if not isinstance(calls, list):
        yield Finding(at, "wrong_type", f"must be an array of calls, not {json_type(calls)}")
        return
    ids: set[str] = set()
    for index, call in enumerate(calls):
        path = f"{at}[{index}]"
        if not isinstance(call, dict):
            yield Finding(path, "not_an_object", f"a call must be an object, not {json_type(call)}")
            continue
        yield from key_findings(call, path, ("id", "type", "function"))
        yield from _type_findings(call, path)
        yield from _id_findings(call.get("id"), f"{path}.id", ids)
        yield from _called_findings(call.get("function"), f"{path}.function")


def _id_findings(found: Any, at: str, ids: set[str]) -> Iterator[Finding]:
    if not isinstance(found, str) or not found:
        yield Finding(at, "missing", "must be a text that the tool's answer repeats as its tool_call_id")
    elif found in ids:
        yield Finding(at, "duplicate_call", f"a call before it has the id {quote(found)}; give each its own")
    else:
        ids.add(found)
        yield from surrogate_findings(found, at)


def _called_findings(function: Any, at: str) -> Iterator[Finding]:
    if not isinstance(function, dict):
        form = 'write {"name": …, "arguments": "{…}"}'
        yield Finding(at, "missing" if function is None else "not_an_object", f"must be an object; {form}")
        return
    yield from key_findings(function, at, ("name", "arguments"))
    yield from _name_findings(function, at)
    yield from _arguments_findings(function.get("arguments"), f"{at}.arguments")


def _arguments_findings(arguments: Any, at: str) -> Iterator[Finding]:
    """Yield why the arguments of a call are not a JSON object in a text."""
    if not isinstance(arguments, str):
        code = "missing" if arguments is None else "wrong_type"
        yield Finding(at, code, f"must be a JSON object in a text, not {json_type(arguments)}")
        return
    try:
        found = strict_json.parse(arguments.encode())
    except UnicodeEncodeError:
        yield from surrogate_findings(arguments, at)
        return
    except strict_json.UnreadableLine as error:
        yield Finding(at, "invalid_arguments", f"must be a JSON object in a text: {error}")
        return
    if not isinstance(found, dict):
        yield Finding(at, "invalid_arguments", f"must be a JSON object in a text, not {json_type(found)}")
    elif isinstance(found, RepeatedKeys):
        yield Finding(at, "duplicate_key", f"the key {quote(found.key)} occurs twice; remove one")
    else:
        yield from _text_findings(found, at)
