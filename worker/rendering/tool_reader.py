"""Finds calls of tools in an answer while the answer is still being written."""

from worker.rendering.tool_forms import Call, ToolForm, calls_in

BEGINS_JSON = ("{", "[")
Found = str | Call


class ToolReader:
    """Takes an answer's text piece by piece, and returns what is certain: text for the client, and calls.

    Text that may be the beginning of a call is held back until it is one or is none.
    """

    def __init__(self, form: ToolForm, names: frozenset[str], *, inside: bool = False) -> None:
        """With `inside`, the answer begins within a call: its opening mark is the end of the prompt."""
        self._form, self._names = form, names
        self._held = form.opening if inside else ""
        self._inside = inside
        self.calls = 0

    def read(self, text: str) -> list[Found]:
        """Return what is certain after this piece."""
        self._held += text
        return self._tagged() if self._form.opening else self._untagged()

    def end(self) -> list[Found]:
        """Return the rest. A call whose closing mark is missing is a call if it is whole."""
        rest, self._held = self._held, ""
        calls = self._calls(rest.removeprefix(self._form.opening)) if self._may_be_call(rest) else []
        if calls:
            return list(calls)
        rest = rest.removeprefix(self._form.opening) if self._inside else rest
        return self._without_gaps([rest])

    def _may_be_call(self, text: str) -> bool:
        if self._form.opening:
            return text.startswith(self._form.opening)
        return text.lstrip().startswith(BEGINS_JSON)

    def _untagged(self) -> list[Found]:
        """The whole answer is a call, or none of it: its first character decides."""
        begin = self._held.lstrip()
        if not begin or begin.startswith(BEGINS_JSON):
            return []
        text, self._held = self._held, ""
        return [text]

    def _tagged(self) -> list[Found]:
        opening, closing = self._form.opening, self._form.closing
        found: list[Found] = []
        while True:
            before, mark, after = self._held.partition(opening)
            if not mark:
                kept = _overlap(self._held, opening)
                if len(self._held) > kept:
                    found.append(self._held[: len(self._held) - kept])
                    self._held = self._held[len(self._held) - kept :]
                return self._without_gaps(found)
            inside, mark, rest = after.partition(closing)
            if not mark:
                self._held = opening + after
                return self._without_gaps([*found, before])
            calls = self._calls(inside)
            found += [before, *calls] if calls else [before + opening + inside + closing]
            self._inside = False
            self._held = rest

    def _without_gaps(self, found: list[Found]) -> list[Found]:
        """Leave out empty texts, and the white space between calls and after them."""
        return [each for each in found if isinstance(each, Call) or (each.strip() if self.calls else each)]

    def _calls(self, text: str) -> list[Call]:
        calls = calls_in(text, self._names)
        self.calls += len(calls)
        return calls


def _overlap(text: str, mark: str) -> int:
    """Return how many of the text's last characters may be the beginning of the mark."""
    return next((size for size in range(len(mark) - 1, 0, -1) if text.endswith(mark[:size])), 0)
