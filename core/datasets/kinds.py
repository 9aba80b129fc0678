"""The kinds of dataset. The first readable row of a file shows its kind, and all other rows must agree."""

from typing import Any, Literal, get_args

from core.datasets.common_rules import unknown_keys

Kind = Literal["chat", "preference", "labelled", "prompt"]
KINDS: tuple[str, ...] = get_args(Kind)
PURPOSE = "fine-tune"  # of a file that a job can read

CHAT_KEYS = ("messages", "parallel_tool_calls", "tools", "functions")
TWO_ANSWERS = ("preferred_output", "non_preferred_output", "chosen", "rejected")
PREFERENCE_KEYS = ("input", *TWO_ANSWERS)
LABELLED_KEYS = ("label", "completion")

ROW_IN_WORDS: dict[str, str] = {
    "chat": "a chat row",
    "preference": "a row with two answers",
    "labelled": "a row with a labelled answer",
    "prompt": "a prompt without an answer",
}


def kind_of(row: dict[str, Any]) -> Kind | None:
    """Return the kind that a row shows, or None if it could be a row of any kind."""
    if _is_prompt(row):
        return "prompt"
    if any(key in row for key in PREFERENCE_KEYS):
        return "preference"
    if any(key in row for key in LABELLED_KEYS):
        return "labelled"
    return "chat" if "messages" in row else None


def is_unanswered(row: dict[str, Any]) -> bool:
    """Return whether the last of a row's messages waits for an answer: it is from a user or a tool."""
    messages = row.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") in ("user", "tool")


def _is_prompt(row: dict[str, Any]) -> bool:
    """Return whether a row is a prompt, and not a row of another kind that lacks its last answer.

    A prompt has no answer at all, or it has keys for a grader. A label that is true or false may also be that
    of a labelled answer, so it does not decide.
    """
    if not is_unanswered(row) or any(key in row for key in TWO_ANSWERS):
        return False
    if not any(isinstance(each, dict) and each.get("role") == "assistant" for each in row["messages"]):
        return True
    return bool(unknown_keys(row, CHAT_KEYS)) and not isinstance(row.get("label"), bool)


def contradicts(row: dict[str, Any], kind: Kind) -> bool:
    """Return whether a row shows another kind than `kind`.

    A row with `messages` may be a row of this kind with a mistake: a label may be missing, an answer may be
    missing, or a prompt may have one. Then the rules of this kind say so.
    """
    found = kind_of(row)
    if found in (None, kind):
        return False
    if kind == "prompt":
        return "messages" not in row
    if found == "prompt":
        return kind == "preference"
    return not (found == "chat" and kind == "labelled")
