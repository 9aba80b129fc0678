"""The shapes in which rows come, and how each becomes a row that a job takes."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from core.datasets.formats.tool_forms import (
    WrongRow,
    has_other_form,
    in_openais_form,
    json_in,
    list_of,
    parsed,
    with_ids,
)
from core.datasets.kinds import CHAT_KEYS, kind_of

Row = dict[str, Any]
Message = dict[str, Any]

SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}
LABELS = {"true": True, "false": False, "1": True, "0": False}
# The columns of a question and its answer, in the order in which they are looked for
PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("question", "answer"),
    ("query", "response"),
    ("input", "output"),
    ("source", "target"),
    ("text", "category"),
    ("text", "label"),
    ("text", "intent"),
)
# The keys of rows with answers that jobs take as they are. A column with another name is left out
KEPT = {
    "chat": CHAT_KEYS,
    "labelled": (*CHAT_KEYS, "prompt", "completion", "label"),
    "preference": (
        *("input", "preferred_output", "non_preferred_output", "prompt", "chosen", "rejected"),
        *("conversations", "tools", "functions", "parallel_tool_calls"),
    ),
}
KEYS = frozenset(
    {"instruction", "output", "system", "history", "conversations", "text"}.union(*PAIRS, *KEPT.values())
)  # of which any shape makes use


class Shape(NamedTuple):
    """A shape of rows: its name for programs, in words, and how a row of it is converted.

    `native` rows are those that jobs take as they are.
    """

    name: str
    words: str
    convert: Callable[[Any], Row]
    native: bool = False


def shape_of(row: Row) -> Shape | None:
    """Return the shape that a row's keys and values show, or None if they show none."""
    if is_prompt(row):
        return _prompt_shape(row)
    if "conversations" in row and not ({"chosen", "rejected"} & row.keys()):
        return Shape("sharegpt", "ShareGPT conversations", _sharegpt)
    if "instruction" in row and "output" in row:
        return Shape("alpaca", "Alpaca instructions", _alpaca)
    if "messages" in row:
        return _messages_shape(row)
    if "chosen" in row or "preferred_output" in row:
        if isinstance(row.get("chosen"), str):
            return Shape("preference_texts", "prompts with a chosen and a rejected text", _preference)
        return _kept("preference", "rows with two answers", row)
    if {"prompt", "completion", "label"} <= row.keys():
        if isinstance(row["prompt"], str):
            return Shape("labelled_texts", "prompts and completions with a label", _labelled)
        return _kept("labelled", "rows with a labelled answer", row)
    if "prompt" in row and isinstance(row["prompt"], list) and isinstance(row.get("completion"), list):
        return Shape("prompt_completion_messages", "prompts and completions as messages", _joined)
    for question, answer in PAIRS:
        if question in row and answer in row:
            words = f"rows of {question} and {answer}"
            convert = partial(_pair, question=question, answer=answer)
            return Shape(f"{question}_{answer}", words, convert)
    if "text" in row:
        return Shape("text", "plain text", lambda each: said(("assistant", _text(each, "text"))))
    return None


def is_prompt(row: Row) -> bool:
    """Return whether a row is a prompt without an answer, whose other keys may have any names.

    A table keeps its messages as JSON in a text.
    """
    try:
        return "messages" in row and kind_of({**row, "messages": json_in(row, "messages")}) == "prompt"
    except WrongRow:
        return False


def said(*turns: tuple[str, str]) -> Row:
    """Return a chat row."""
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def _messages_shape(row: Row) -> Shape:
    words = "chat rows" if "label" not in row else "rows with a labelled answer"
    name = "chat" if "label" not in row else "labelled"
    if isinstance(row["messages"], list):
        return _kept(name, words, row)
    return Shape(f"{name}_column", f"{words} with the messages as JSON in a text", _messages_column)


def _prompt_shape(row: Row) -> Shape:
    if not isinstance(row["messages"], list):
        words = "prompts without answers, with the messages as JSON in a text"
        return Shape("prompt_column", words, _prompt)
    if has_other_form(_seen_by_the_model(row)):
        return Shape("prompt_other_tools", "prompts without answers, with tools in another form", _prompt)
    return Shape("prompt", "prompts without answers", _prompt, native=True)


def _prompt(row: Row) -> Row:
    """Return a prompt with all of its other keys, which are a grader's."""
    kept = {key: value for key, value in row.items() if key not in CHAT_KEYS}
    return {**in_openais_form({**_seen_by_the_model(row), "messages": json_in(row, "messages")}), **kept}


def _seen_by_the_model(row: Row) -> Row:
    return {key: row[key] for key in CHAT_KEYS if row.get(key) not in (None, "")}


def _kept(name: str, words: str, row: Row) -> Shape:
    """Return the shape of rows that a job takes as they are, unless their tools have another form."""
    convert = partial(_as_a_job_takes, keys=KEPT[name])
    if has_other_form(row):
        return Shape(f"{name}_other_tools", f"{words} with tools in another form", convert)
    return Shape(name, words, convert, native=True)


def _as_a_job_takes(row: Row, keys: tuple[str, ...]) -> Row:
    found = {key: row[key] for key in keys if key in row}
    if isinstance(found.get("prompt"), str) and isinstance(found.get("chosen"), list):
        del found["prompt"]  # tables repeat it beside two whole conversations
    return in_openais_form(found)


def _messages_column(row: Row) -> Row:
    found = {**_seen_by_the_model(row), "messages": json_in(row, "messages")}
    if "label" in row:
        found["label"] = _label(row)
    return in_openais_form(found)


def _pair(row: Row, question: str, answer: str) -> Row:
    return said(("user", _text(row, question)), ("assistant", _text(row, answer)))


def _joined(row: Row) -> Row:
    if not isinstance(row.get("prompt"), list) or not isinstance(row.get("completion"), list):
        raise WrongRow("", "prompt and completion must both be arrays of messages, as in the first row")
    tools = {key: row[key] for key in ("tools", "functions") if row.get(key)}
    return in_openais_form({"messages": [*row["prompt"], *row["completion"]], **tools})


def _labelled(row: Row) -> Row:
    return {**_pair(row, "prompt", "completion"), "label": _label(row)}


def _preference(row: Row) -> Row:
    prompt = [{"role": "user", "content": _text(row, "prompt")}]
    answers = [[{"role": "assistant", "content": _text(row, key)}] for key in ("chosen", "rejected")]
    return {"input": {"messages": prompt}, "preferred_output": answers[0], "non_preferred_output": answers[1]}


def _alpaca(row: Row) -> Row:
    system = [("system", row["system"])] if isinstance(row.get("system"), str) and row["system"] else []
    history: list[tuple[str, str]] = []
    for index, turn in enumerate(list_of(row.get("history"), "history")):
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(each, str) for each in turn):
            raise WrongRow(f"history[{index}]", "must be an array of a question and an answer")
        history += [("user", turn[0]), ("assistant", turn[1])]
    asked, more = _text(row, "instruction"), row.get("input")
    question = f"{asked}\n\n{more}" if isinstance(more, str) and more.strip() else asked
    return said(*system, *history, ("user", question), ("assistant", _text(row, "output")))


def _sharegpt(row: Row) -> Row:
    turns = row.get("conversations")
    if not isinstance(turns, list):
        raise WrongRow("conversations", "must be an array of turns")
    messages: list[Message] = []
    if isinstance(row.get("system"), str) and row["system"]:
        messages.append({"role": "system", "content": row["system"]})
    before = len(messages)
    messages += [_turn(turn, f"conversations[{index}]") for index, turn in enumerate(turns)]
    messages = with_ids(messages)
    for index, message in enumerate(messages[before:]):
        if message["role"] == "tool" and "tool_call_id" not in message:
            raise WrongRow(f"conversations[{index}]", "an observation must follow a function call")
    tools = {"tools": row["tools"]} if row.get("tools") else {}
    return in_openais_form({"messages": messages, **tools})


def _turn(turn: Any, at: str) -> Message:
    speaker = turn.get("from") if isinstance(turn, dict) else None
    if not isinstance(speaker, str) or not isinstance(turn.get("value"), str):
        raise WrongRow(at, 'a turn must have "from" and "value", both texts')
    if speaker not in SHAREGPT_ROLES:
        raise WrongRow(f"{at}.from", f"unknown speaker; use one of {', '.join(SHAREGPT_ROLES)}")
    if speaker == "function_call":
        return {"role": "assistant", "content": None, "tool_calls": _calls(turn["value"], f"{at}.value")}
    return {"role": SHAREGPT_ROLES[speaker], "content": turn["value"]}


def _calls(value: str, at: str) -> list[Any]:
    found = parsed(value, at)
    calls = found if isinstance(found, list) else [found]
    if not calls or not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        raise WrongRow(at, "a function call must have a name")
    return calls


def _text(row: Row, key: str) -> str:
    found = row.get(key)
    if not isinstance(found, str):
        raise WrongRow(key, "must be a text, as in the first row")
    return found


def _label(row: Row) -> bool:
    found = row.get("label")
    label = found if isinstance(found, bool) else LABELS.get(str(found).strip().lower())
    if label is None:
        raise WrongRow("label", "must be true or false")
    return label
