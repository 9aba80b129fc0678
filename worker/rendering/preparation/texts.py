"""Changes to the texts of a prompt: typing mistakes, another case, and labels that are listed backwards."""

import random
import re
from collections.abc import Callable, Sequence

WORD = re.compile(r"[^\W\d_]{4,}")  # shorter words and numbers are left as they are
# No two repetitions in it can share out one text: a long run of spaces costs its length, not a power of it
BETWEEN_LABELS = (
    r"""["'`*.)\]]*(?:\s*[,;/|]\s*(?:and\s+|or\s+)?|\s+(?:and|or)\s+|[^\S\n]*\n\s*(?:[-*•]\s*)?)["'`*(\[]*"""
)
CASES: tuple[Callable[[str], str], ...] = (str.lower, str.upper)


def with_typing_mistakes(text: str, share: float, draw: random.Random) -> str:
    """Return the text with a mistake in about this share of its longer words."""
    return WORD.sub(lambda word: _mistyped(word[0], draw) if draw.random() < share else word[0], text)


def _mistyped(word: str, draw: random.Random) -> str:
    """Swap two letters inside of the word, leave one out, or double one."""
    at = draw.randrange(1, len(word) - 2)
    first, second = word[at], word[at + 1]
    return word[:at] + draw.choice((second + first, second, first + first + second)) + word[at + 2 :]


class LabelLists:
    """Finds labels in texts, whole words in any case, and lists of labels side by side."""

    def __init__(self, labels: Sequence[str]) -> None:
        longest_first = sorted(labels, key=len, reverse=True)
        label = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)"
        self._label = re.compile(label, re.IGNORECASE) if labels else None
        self._list = re.compile(f"{label}(?:{BETWEEN_LABELS}{label})+", re.IGNORECASE) if labels else None

    def backwards(self, text: str) -> str:
        """Return the text with the labels of each list in the opposite order. What is between them stays."""
        return self._list.sub(lambda found: self._reversed(found[0]), text) if self._list else text

    def outside(self, text: str, change: Callable[[str], str]) -> str:
        """Return the text with `change` applied to all of it but the labels."""
        if self._label is None:
            return change(text)
        labels = self._label.findall(text)
        parts = [change(part) for part in self._label.split(text)]
        return "".join(part + label for part, label in zip(parts, [*labels, ""], strict=True))

    def _reversed(self, found: str) -> str:
        assert self._label is not None
        labels = iter(reversed(self._label.findall(found)))
        return self._label.sub(lambda _: next(labels), found)
