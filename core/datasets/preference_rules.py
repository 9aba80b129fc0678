"""The rules of a preference row: one prompt with two answers, of which the first is preferred.

The three forms differ in their keys. OpenAI's has `input`. TRL's has `chosen` and `rejected`; its
prompt is in `prompt`, or begins both conversations. ShareGPT's has `conversations`, whose turns have `from`
and `value`.
"""

from collections.abc import Iterator
from typing import Any

from core.datasets.chat_rules import list_findings, message_findings
from core.datasets.common_rules import (
    json_type,
    key_findings,
    missing_findings,
    row_is_no_object,
    row_key_findings,
)
from core.datasets.findings import Finding, quote
from core.datasets.tool_rules import TOOL_KEYS, tool_findings

Message = dict[str, Any]

OPENAI_ONLY = ("input", "preferred_output", "non_preferred_output")
OPENAI_KEYS = (*OPENAI_ONLY, "parallel_tool_calls", *TOOL_KEYS)
INPUT_KEYS = ("messages", "parallel_tool_calls", *TOOL_KEYS)
TRL_KEYS = ("prompt", "chosen", "rejected", *TOOL_KEYS)
SHAREGPT_KEYS = ("conversations", "chosen", "rejected", *TOOL_KEYS)
SHAREGPT_ROLES = {"system": "system", "human": "user", "gpt": "assistant"}
TURN_KEYS = ("from", "value")

ANSWERED_MESSAGE = "the message that the answers reply to"  # as it reads after "add"
PREFERENCE_FORM = '{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}'


def pair(row: dict[str, Any]) -> tuple[list[Message], Message, Message]:
    """Return the prompt of a checked row, the preferred answer, and the other answer."""
    if "input" in row:
        return row["input"]["messages"], row["preferred_output"][0], row["non_preferred_output"][0]
    if "conversations" in row:
        prompt = [_message(turn) for turn in row["conversations"]]
        return prompt, _message(row["chosen"]), _message(row["rejected"])
    prompt = row["prompt"] if "prompt" in row else row["chosen"][:-1]
    return prompt, row["chosen"][-1], row["rejected"][-1]


def pair_keys(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the keys that a preference row of this form may have."""
    if any(key in row for key in OPENAI_ONLY):
        return OPENAI_KEYS
    return SHAREGPT_KEYS if "conversations" in row else TRL_KEYS


def pair_findings(row: Any) -> Iterator[Finding]:
    """Yield each mistake of a row that `strict_json.parse` returned."""
    if not isinstance(row, dict):
        yield row_is_no_object(row, PREFERENCE_FORM)
    elif any(key in row for key in OPENAI_ONLY):
        yield from _openai_findings(row)
    elif "conversations" in row:
        yield from _sharegpt_findings(row)
    else:
        yield from _trl_findings(row)


def prompt_findings(messages: Any, at: str) -> Iterator[Finding]:
    """Yield what is wrong with the messages of a prompt as a whole; `list_findings` checks each message.

    A prompt must not end with an answer, and its messages have no weights: a prompt is not learnt.
    """
    if not isinstance(messages, list) or not messages:
        return
    yield from weight_findings(messages, at)
    if isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant":
        yield _prompt_ends_with_answer(f"{at}[{len(messages) - 1}].role")


def answer_findings(row: dict[str, Any], key: str) -> Iterator[Finding]:
    """Yield what is wrong with a list that must have exactly one message, the assistant's answer."""
    yield from list_findings(row, key, "the assistant's answer")
    found = row.get(key)
    if not isinstance(found, list) or not found:
        return
    if len(found) > 1:
        yield Finding(key, "not_one_answer", f"has {len(found)} messages; keep one, the assistant's answer")
    yield from last_role_findings(found, key)
    yield from weight_findings(found, key)


def last_role_findings(messages: list[Any], at: str) -> Iterator[Finding]:
    """Yield a finding if the last message is not from the assistant."""
    last = messages[-1]
    if isinstance(last, dict) and last.get("role") not in (None, "assistant"):
        yield Finding(
            f"{at}[{len(messages) - 1}].role", "last_not_assistant", "an answer must be from the assistant"
        )


def weight_findings(messages: list[Any], at: str) -> Iterator[Finding]:
    """Yield a finding for each message with a weight: rows of this kind have none."""
    for index, message in enumerate(messages):
        if isinstance(message, dict) and message.get("weight") is not None:
            yield Finding(
                f"{at}[{index}].weight", "misplaced_weight", "only chat rows can have weights; remove it"
            )


def _openai_findings(row: dict[str, Any]) -> Iterator[Finding]:
    yield from missing_findings(row, OPENAI_ONLY, PREFERENCE_FORM)
    yield from row_key_findings(row, OPENAI_KEYS)
    yield from tool_findings(row, "")
    if "input" in row:
        yield from _input_findings(row["input"])
    yield from answer_findings(row, "preferred_output")
    yield from answer_findings(row, "non_preferred_output")


def _input_findings(found: Any) -> Iterator[Finding]:
    if not isinstance(found, dict):
        yield Finding("input", "not_an_object", f"must be an object with messages, not {json_type(found)}")
        return
    if "messages" not in found:
        yield Finding("input.messages", "missing", f"the input has no messages; write {PREFERENCE_FORM}")
    yield from key_findings(found, "input", INPUT_KEYS)
    yield from tool_findings(found, "input.")
    yield from list_findings(found, "messages", ANSWERED_MESSAGE, prefix="input.")
    yield from prompt_findings(found.get("messages"), "input.messages")


def _trl_findings(row: dict[str, Any]) -> Iterator[Finding]:
    yield from missing_findings(
        row, ("chosen", "rejected"), '{"prompt": […], "chosen": […], "rejected": […]}'
    )
    yield from row_key_findings(row, TRL_KEYS)
    yield from tool_findings(row, "")
    if "prompt" in row:
        yield from list_findings(row, "prompt", ANSWERED_MESSAGE)
        yield from prompt_findings(row["prompt"], "prompt")
        yield from answer_findings(row, "chosen")
        yield from answer_findings(row, "rejected")
        return
    found = [finding for key in ("chosen", "rejected") for finding in _conversation_findings(row, key)]
    yield from found or _common_prompt_findings(row)


def _conversation_findings(row: dict[str, Any], key: str) -> Iterator[Finding]:
    yield from list_findings(row, key, "the prompt and the answer")
    if isinstance(row.get(key), list) and row[key]:
        yield from last_role_findings(row[key], key)
        yield from weight_findings(row[key], key)


def _common_prompt_findings(row: dict[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with the prompt of a row without `prompt`.

    Both conversations must then be the same up to their last message.
    """
    if "chosen" not in row or "rejected" not in row:
        return
    chosen, rejected = row["chosen"], row["rejected"]
    if len(chosen) < 2:
        yield Finding(
            "prompt", "missing", "the row has no prompt; add it, or begin both conversations with it"
        )
    elif chosen[:-1] != rejected[:-1]:
        yield Finding(
            "rejected",
            "different_prompts",
            "must be the same as chosen up to the last message; let both answers reply to one prompt",
        )
    else:
        yield from prompt_findings(chosen[:-1], "chosen")


def _sharegpt_findings(row: dict[str, Any]) -> Iterator[Finding]:
    form = '{"conversations": [{"from": "human", …}], "chosen": {"from": "gpt", …}, "rejected": {…}}'
    yield from missing_findings(row, ("chosen", "rejected"), form)
    yield from row_key_findings(row, SHAREGPT_KEYS)
    yield from tool_findings(row, "")
    turns = row["conversations"]
    if not isinstance(turns, list):
        yield Finding("conversations", "wrong_type", f"must be an array of turns, not {json_type(turns)}")
    elif not turns:
        yield Finding("conversations", "empty", f"has no turns; add {ANSWERED_MESSAGE}")
    else:
        for index, turn in enumerate(turns):
            yield from _turn_findings(turn, f"conversations[{index}]")
        if isinstance(turns[-1], dict) and turns[-1].get("from") == "gpt":
            yield _prompt_ends_with_answer(f"conversations[{len(turns) - 1}].from")
    for key in ("chosen", "rejected"):
        if key in row:
            yield from _turn_findings(row[key], key)
            if isinstance(row[key], dict) and row[key].get("from") in ("system", "human"):
                yield Finding(f"{key}.from", "last_not_assistant", 'an answer must be from "gpt"')


def _turn_findings(turn: Any, at: str) -> Iterator[Finding]:
    if not isinstance(turn, dict):
        yield Finding(
            at, "not_an_object", f'a turn must be an object with "from" and "value", not {json_type(turn)}'
        )
        return
    yield from key_findings(turn, at, TURN_KEYS)
    if "from" not in turn:
        yield Finding(
            f"{at}.from", "missing", f'the turn has no "from"; use one of {", ".join(SHAREGPT_ROLES)}'
        )
    elif not isinstance(turn["from"], str) or turn["from"] not in SHAREGPT_ROLES:
        named = quote(turn["from"]) if isinstance(turn["from"], str) else json_type(turn["from"])
        yield Finding(
            f"{at}.from", "unknown_role", f"unknown speaker {named}; use one of {', '.join(SHAREGPT_ROLES)}"
        )
    else:
        for finding in message_findings(_message(turn), at):
            field = finding.field.replace(f"{at}.content", f"{at}.value")
            yield finding._replace(field=field)


def _prompt_ends_with_answer(at: str) -> Finding:
    message = f"the prompt must not end with an answer; remove the answer, or add {ANSWERED_MESSAGE}"
    return Finding(at, "last_is_assistant", message)


def _message(turn: dict[str, Any]) -> Message:
    return {"role": SHAREGPT_ROLES[turn["from"]], "content": turn.get("value")}
