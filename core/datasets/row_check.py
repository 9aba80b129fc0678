"""Checks the rows of one dataset, line by line, each by the rules of the file's kind."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import msgspec

from core.datasets import strict_json
from core.datasets.chat_rules import row_findings
from core.datasets.common_rules import unknown_keys
from core.datasets.findings import Finding
from core.datasets.images import Look, row_image_findings
from core.datasets.kinds import CHAT_KEYS, ROW_IN_WORDS, Kind, contradicts, kind_of
from core.datasets.labelled_rules import labelled_findings, labelled_keys
from core.datasets.plain_chat import plain_chat
from core.datasets.preference_rules import pair_findings, pair_keys
from core.datasets.prompt_rules import prompt_findings, prompt_keys
from core.datasets.template_needs import Need, needs_of

MAX_ROW_FINDINGS = 20

_decode = msgspec.json.Decoder(dict[str, Any]).decode

Rules = Callable[[Any], Iterator[Finding]]

RULES: dict[Kind, Rules] = {
    "chat": row_findings,
    "preference": pair_findings,
    "labelled": labelled_findings,
    "prompt": prompt_findings,
}

KEYS: dict[Kind, Callable[[dict[str, Any]], tuple[str, ...]]] = {
    "chat": lambda _: CHAT_KEYS,
    "preference": pair_keys,
    "labelled": labelled_keys,
    "prompt": prompt_keys,
}


def ignored_keys(row: dict[str, Any], kind: Kind) -> list[str]:
    """Return the keys of a row of this kind that nothing reads."""
    return unknown_keys(row, KEYS[kind](row))


def line_findings(line: bytes, rules: Rules) -> list[Finding]:
    """Return the findings of `rules` on one line, at most the first 20. `line` has no line end.

    A line that is not strict JSON has one finding, which says so.
    """
    try:
        row = strict_json.parse(line)
    except strict_json.UnreadableLine as error:
        return [Finding("", error.code, str(error))]
    return list(islice(rules(row), MAX_ROW_FINDINGS))


class RowCheck:
    """Checks the lines of one file. `kind` is None until a row has shown the kind of the file.

    If nothing is wrong with the last line, `needs` is what it needs of a chat template, and `row` its row.
    """

    def __init__(self, look: Look | None = None) -> None:
        """`look` decodes images. Without it, only their form is checked."""
        self._look = look
        self.kind: Kind | None = None
        self.needs: frozenset[Need] = frozenset()
        self.row: dict[str, Any] | None = None

    def findings(self, line: bytes) -> list[Finding]:
        """Return the findings on the next line, at most the first 20. `line` has no line end."""
        self.needs, self.row = frozenset(), None
        if self.kind in ("chat", None) and (row := plain_chat(line)) is not None:
            self.kind, self.row = "chat", row
            return []
        findings = line_findings(line, self._row_findings)
        return findings or self._read_as_jobs_do(line)

    def _read_as_jobs_do(self, line: bytes) -> list[Finding]:
        """Keep the row as jobs read it. Returns what is wrong if they cannot read it.

        The rules have not seen the values of keys that nothing reads.
        """
        try:
            self.row = row = _decode(line)
            self.needs = needs_of(row, self.kind or "chat")
        except msgspec.ValidationError:
            message = "the row has a number that is too large; write a smaller one, or a text"
            return [Finding("", "invalid_json", message)]
        except msgspec.DecodeError:
            message = (
                "the row has half of a character, as \\ud83d alone; write the whole character, or remove it"
            )
            return [Finding("", "lone_surrogate", message)]
        except RecursionError:
            return [Finding("", "too_deep", "the row is nested too deeply; flatten it")]
        if "images" in self.needs:
            return list(row_image_findings(row, self.kind or "chat", self._look))
        return []

    def _row_findings(self, row: Any) -> Iterator[Finding]:
        if isinstance(row, dict):
            self.kind = self.kind or kind_of(row)
            if self.kind is not None and contradicts(row, self.kind):
                yield self._other_kind(row, self.kind)
                return
        yield from RULES[self.kind or "chat"](row)

    def _other_kind(self, row: dict[str, Any], kind: Kind) -> Finding:
        found = kind_of(row)
        assert found is not None
        message = (
            f"this is {ROW_IN_WORDS[found]}, but the file began with {ROW_IN_WORDS[kind]}; "
            "put each kind of row in a file of its own"
        )
        return Finding("", "other_kind", message)
