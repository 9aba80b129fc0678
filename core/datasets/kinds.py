"""The kinds of dataset. The first readable row of a file shows its kind, and all other rows must agree."""

from typing import Any, Literal, get_args

Kind = Literal["chat", "preference", "labelled"]
KINDS: tuple[str, ...] = get_args(Kind)
PURPOSE = "fine-tune"  # of a file that a job can read

PREFERENCE_KEYS = ("input", "preferred_output", "non_preferred_output", "chosen", "rejected")
LABELLED_KEYS = ("label", "completion")

ROW_IN_WORDS: dict[str, str] = {
    "chat": "a chat row",
    "preference": "a row with two answers",
    "labelled": "a row with a labelled answer",
}


def kind_of(row: dict[str, Any]) -> Kind | None:
    """Return the kind that a row's keys show, or None if a row of any kind could have these keys."""
    if any(key in row for key in PREFERENCE_KEYS):
        return "preference"
    if any(key in row for key in LABELLED_KEYS):
        return "labelled"
    return "chat" if "messages" in row else None


def contradicts(row: dict[str, Any], kind: Kind) -> bool:
    """Return whether a row's keys show another kind than `kind`.

    A row with `messages` but no label does not contradict "labelled": its label may be missing by mistake.
    """
    found = kind_of(row)
    return found not in (None, kind) and not (found == "chat" and kind == "labelled")
