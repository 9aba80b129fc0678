"""Finds calls that teach something wrong: of no declared tool, with wrong arguments, or without an answer.

A chat template renders them all, so a job takes such rows.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import jsonschema_rs

from core.datasets.conversations import conversations
from core.datasets.findings import quote
from core.datasets.kinds import Kind
from core.datasets.tool_rules import parsed_arguments, tools_of
from worker.dataset_checks.one_row.examples import shown_text

MOST_REFERENCES = 16  # within a schema: each one may double the time
REFERENCE = '"$ref"'
LONGEST_REASON = 160  # characters

Row = dict[str, Any]


class CallFinding(NamedTuple):
    code: str
    field: str
    message: str
    mend: str


def wrong_calls(row: Row, kind: Kind) -> Iterator[CallFinding]:
    """Yield what is wrong with the calls of a row that `RowCheck` has no finding on."""
    declared = {tool["function"]["name"]: tool["function"].get("parameters") for tool in tools_of(row)}
    for at, messages in conversations(row, kind):
        for index, message in enumerate(messages):
            for number, call in enumerate(message.get("tool_calls") or ()):
                yield from _wrong_call(call, f"{at}[{index}].tool_calls[{number}].function", declared)
        yield from _unanswered(messages, at)


def _wrong_call(call: Row, at: str, declared: dict[str, Any]) -> Iterator[CallFinding]:
    name = call["function"]["name"]
    if name not in declared:
        message = f"the row calls {quote(name)}, which none of its tools declares"
        yield CallFinding("undeclared_tool", f"{at}.name", message, "declare the tool, or remove the call")
        return
    reason = _misfit(declared[name], parsed_arguments(call))
    if reason is not None:
        message = f"the arguments are not as {quote(name)} declares them: {reason}"
        mend = "mend the arguments, or the parameters of the tool"
        yield CallFinding("wrong_arguments", f"{at}.arguments", message, mend)


def _misfit(parameters: Row | None, arguments: Row) -> str | None:
    """Return why the arguments do not fit the schema of a tool's parameters, or None."""
    validator = _validator(json.dumps(parameters)) if parameters else None
    if validator is None:
        return None
    try:
        validator.validate(arguments)
    except jsonschema_rs.ValidationError as error:
        path = ".".join(map(str, error.instance_path))
        reason = shown_text(f"{path}: {error.message}" if path else error.message)
        return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"
    except ValueError:  # a number that is too large
        return None
    return None


@lru_cache(maxsize=256)
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator | None:
    """Return a validator, or None if the schema cannot be applied safely. It fetches nothing."""
    if schema.count(REFERENCE) > MOST_REFERENCES:
        return None
    try:
        return jsonschema_rs.Draft202012Validator(
            json.loads(schema), offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ReferencingError):
        return None


def _unanswered(messages: list[Row], at: str) -> Iterator[CallFinding]:
    """Yield each message whose calls are not all answered before the conversation goes on."""
    calls: set[str] = set()
    caller = 0
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            calls.discard(message["tool_call_id"])
            continue
        if calls:
            waiting = ", ".join(map(quote, sorted(calls)[:3]))
            text = f"no tool message answers {waiting} before the conversation goes on"
            mend = "add the answers of the tools, or remove the calls"
            yield CallFinding("unanswered_call", f"{at}[{caller}].tool_calls", text, mend)
        caller, calls = index, {call["id"] for call in message.get("tool_calls") or ()}
