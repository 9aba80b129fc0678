"""Which kind of row a dataset holds: its first row that can be read says so, and all others must agree."""

from typing import Any, Literal, get_args

Kind = Literal["chat", "preference", "labelled"]
KINDS: tuple[str, ...] = get_args(Kind)

PREFERENCE_KEYS = ("input", "preferred_output", "non_preferred_output", "chosen", "rejected")
LABELLED_KEYS = ("label", "completion")

ROW_IN_WORDS: dict[str, str] = {
    "chat": "a chat row",
    "preference": "a row with two answers",
    "labelled": "a row with a labelled answer",
}


def kind_of(row: dict[str, Any]) -> Kind | None:
    """What a row's keys say that it is; None where they could be any kind's."""
    if any(key in row for key in PREFERENCE_KEYS):
        return "preference"
    if any(key in row for key in LABELLED_KEYS):
        return "labelled"
    return "chat" if "messages" in row else None


def contradicts(row: dict[str, Any], kind: Kind) -> bool:
    """Whether a row's keys speak against `kind`. Messages alone do not: a label may be missing."""
    found = kind_of(row)
    return found not in (None, kind) and not (found == "chat" and kind == "labelled")
