"""The shapes in which rows come, and how each becomes a row that a job takes."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

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


class WrongRow(Exception):
    """A row is not of the shape of the file's first row. `field` is the path to the mistake."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


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
    if "conversations" in row and not ({"chosen", "rejected"} & row.keys()):
        return Shape("sharegpt", "ShareGPT conversations", _sharegpt)
    if "instruction" in row and "output" in row:
        return Shape("alpaca", "Alpaca instructions", _alpaca)
    if "messages" in row:
        return _messages_shape(row)
    if "chosen" in row or "preferred_output" in row:
        if isinstance(row.get("chosen"), str):
            return Shape("preference_texts", "prompts with a chosen and a rejected text", _preference)
        return Shape("preference", "rows with two answers", _as_it_is, native=True)
    if {"prompt", "completion", "label"} <= row.keys():
        if isinstance(row["prompt"], str):
            return Shape("labelled_texts", "prompts and completions with a label", _labelled)
        return Shape("labelled", "rows with a labelled answer", _as_it_is, native=True)
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


def said(*turns: tuple[str, str]) -> Row:
    """Return a chat row."""
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def _messages_shape(row: Row) -> Shape:
    words = "chat rows" if "label" not in row else "rows with a labelled answer"
    name = "chat" if "label" not in row else "labelled"
    if isinstance(row["messages"], list):
        return Shape(name, words, _as_it_is, native=True)
    return Shape(f"{name}_column", f"{words} with the messages as JSON in a text", _messages_column)


def _as_it_is(row: Row) -> Row:
    return row


def _messages_column(row: Row) -> Row:
    found = {"messages": _json_in(row, "messages")}
    if "label" in row:
        found["label"] = _label(row)
    return found


def _pair(row: Row, question: str, answer: str) -> Row:
    return said(("user", _text(row, question)), ("assistant", _text(row, answer)))


def _joined(row: Row) -> Row:
    if not isinstance(row.get("prompt"), list) or not isinstance(row.get("completion"), list):
        raise WrongRow("", "prompt and completion must both be arrays of messages, as in the first row")
    return {"messages": [*row["prompt"], *row["completion"]]}


def _labelled(row: Row) -> Row:
    return {**_pair(row, "prompt", "completion"), "label": _label(row)}


def _preference(row: Row) -> Row:
    prompt = [{"role": "user", "content": _text(row, "prompt")}]
    answers = [[{"role": "assistant", "content": _text(row, key)}] for key in ("chosen", "rejected")]
    return {"input": {"messages": prompt}, "preferred_output": answers[0], "non_preferred_output": answers[1]}


def _alpaca(row: Row) -> Row:
    system = [("system", row["system"])] if isinstance(row.get("system"), str) and row["system"] else []
    history: list[tuple[str, str]] = []
    for index, turn in enumerate(_list(row.get("history"), "history")):
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
    for index, turn in enumerate(turns):
        messages.append(_turn(turn, f"conversations[{index}]", messages))
    found: Row = {"messages": messages}
    tools = _json_in(row, "tools") if isinstance(row.get("tools"), str) else row.get("tools")
    if declared := _list(tools, "tools"):
        found["tools"] = [_declared(tool, index) for index, tool in enumerate(declared)]
    return found


def _turn(turn: Any, at: str, earlier: list[Message]) -> Message:
    speaker = turn.get("from") if isinstance(turn, dict) else None
    if not isinstance(speaker, str) or not isinstance(turn.get("value"), str):
        raise WrongRow(at, 'a turn must have "from" and "value", both texts')
    if speaker not in SHAREGPT_ROLES:
        raise WrongRow(f"{at}.from", f"unknown speaker; use one of {', '.join(SHAREGPT_ROLES)}")
    if speaker == "function_call":
        return {"role": "assistant", "content": None, "tool_calls": _calls(turn["value"], at, len(earlier))}
    message: Message = {"role": SHAREGPT_ROLES[speaker], "content": turn["value"]}
    if message["role"] == "tool":
        calls = earlier[-1].get("tool_calls") if earlier else None
        if not calls:
            raise WrongRow(at, "an observation must follow a function call")
        message["tool_call_id"] = calls[0]["id"]
    return message


def _calls(value: str, at: str, number: int) -> list[Row]:
    """Return the calls of a function_call turn in OpenAI's form, whose arguments are JSON in a text."""
    calls = _parsed(value, f"{at}.value")
    found = []
    for index, call in enumerate(calls if isinstance(calls, list) else [calls]):
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise WrongRow(f"{at}.value", "a function call must have a name")
        given = call.get("arguments", {})
        arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        function = {"name": call["name"], "arguments": arguments}
        found.append({"id": f"call_{number}_{index}", "type": "function", "function": function})
    return found


def _declared(tool: Any, index: int) -> Row:
    if not isinstance(tool, dict):
        raise WrongRow(f"tools[{index}]", "must be an object")
    return tool if "function" in tool else {"type": "function", "function": tool}


def _list(found: Any, key: str) -> list[Any]:
    if not isinstance(found or [], list):
        raise WrongRow(key, "must be an array")
    return found or []


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


def _json_in(row: Row, key: str) -> Any:
    found = row.get(key)
    return _parsed(found, key) if isinstance(found, str) else found


def _parsed(text: str, field: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise WrongRow(field, "must be JSON in a text") from None
