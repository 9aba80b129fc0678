"""The text of a growing answer: which characters are certain, and where a stop string ends it."""

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream


class GrowingText:
    """Turns tokens into text, one by one, without special tokens.

    It holds back the end of the text as long as a stop string may begin there, and bytes that are not yet a
    whole character.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self._stream = DecodeStream(skip_special_tokens=True)
        self._undecoded: list[int] = []
        self._held = ""

    def add(self, token: int, may_stop: bool) -> tuple[str, str | None]:
        """Return the characters that are certain now, and the stop string that has ended the text."""
        self._undecoded.append(token)
        try:
            text = self._stream.step(self._tokenizer.backend_tokenizer, token)
        except Exception:  # the only type that it raises
            text = self._begin_again()
        if text is None:
            return "", None
        self._undecoded.clear()
        self._held += text
        return self._released(may_stop)

    def rest(self) -> str:
        """Return what was held back, at the end of an answer that no stop string has ended."""
        cut = self._tokenizer.decode(self._undecoded, skip_special_tokens=True) if self._undecoded else ""
        text, self._held = self._held + cut, ""
        self._undecoded.clear()
        return text

    def _begin_again(self) -> str:
        """Return the text of the undecoded tokens, and let the stream go on behind them.

        The stream breaks if a token changes characters that are already out. In vocabularies with a token for
        each byte, a run of bytes that is not UTF-8 is replaced as a whole, with a line break that it begins
        with.
        """
        self._stream = DecodeStream(list(self._undecoded), skip_special_tokens=True)
        return str(self._tokenizer.backend_tokenizer.decode(self._undecoded, skip_special_tokens=True))

    def _released(self, may_stop: bool) -> tuple[str, str | None]:
        if may_stop:
            found = [(at, stop) for stop in self._stop if (at := self._held.find(stop)) >= 0]
            if found:
                at, stop = min(found)
                text, self._held = self._held[:at], ""
                return text, stop
        keep = max((self._overlap(stop) for stop in self._stop), default=0)
        end = len(self._held) - keep
        text, self._held = self._held[:end], self._held[end:]
        return text, None

    def _overlap(self, stop: str) -> int:
        """Return how many characters at the end of the held text may be the beginning of `stop`."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
