"""Guesses the next tokens of an answer: those that followed the same tokens before.

They are looked up in the prompt and the answer so far, and in the answer that the client predicts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worker.rows.image_store import FIRST_IMAGE_TOKEN

LONGEST_DRAFT = 16  # tokens
LONGEST_MATCH = 4
LOOKED_AT = 8192  # the last tokens of a text: a look-up takes some microseconds
# How often the token was right that followed a match of 1, 2, 3 and 4 tokens, as measured for SQL, JSON,
# calculations and plain text
CHANCES = (0.3, 0.5, 0.65, 0.75)
WEIGHT = 4.0  # of these chances: so many guesses of the answer's own count as much
KEPT = 0.95  # of the weight of what was learnt, at each guess
IMAGE = chr(0x10FFFF)  # no token's character: stands for a part of an image, which no answer has


@dataclass(frozen=True)
class Draft:
    """Tokens that may come next. `is_predicted` says that the client has predicted them."""

    tokens: tuple[int, ...] = ()
    is_predicted: bool = False

    def __len__(self) -> int:
        return len(self.tokens)


NO_DRAFT = Draft()


@dataclass(frozen=True)
class Drafted:
    """How many tokens of a draft have become the answer's, and how many were computed for nothing."""

    accepted: int
    rejected: int
    is_predicted: bool


class Lookup:
    """Guesses what may follow the text of one request, and how likely each guess is right.

    Tokens are held as characters: Python finds a string in a string fast, and a list in a list slowly.
    """

    def __init__(self, prompt: Sequence[int], prediction: Sequence[int]) -> None:
        self._text = _characters(prompt[-LOOKED_AT:])
        self._prediction = _characters([*prompt[-LONGEST_MATCH:], *prediction]) if prediction else ""
        self._reached = 0  # in the prediction
        self._guess, self._matched = "", 0
        self.is_predicted = False  # whether the last guess was
        self._right = [chance * WEIGHT for chance in CHANCES]
        self._tried = [WEIGHT] * LONGEST_MATCH

    def guess(self) -> Iterator[tuple[int, float]]:
        """Yield tokens that may come next, each with the chance that it and all before it are right."""
        self._look_up()
        chance = 1.0
        for number, character in enumerate(self._guess):
            place = self._place(number)
            chance *= self._right[place] / self._tried[place]
            yield ord(character), chance

    def add(self, token: int) -> None:
        """Take the next token of the text, and learn whether the last guess has it."""
        character = chr(token)
        self._text = (self._text + character)[-LOOKED_AT:]
        if not self._guess:
            return
        right, place = self._guess[0] == character, self._place(0)
        forgotten = (1 - KEPT) * WEIGHT
        self._right[place] = KEPT * self._right[place] + forgotten * CHANCES[place] + right
        self._tried[place] = KEPT * self._tried[place] + forgotten + 1
        self._guess, self._matched = (self._guess[1:], self._matched + 1) if right else ("", 0)

    def _look_up(self) -> None:
        """Find the longest match: in the prediction, first behind the last, or else in the text."""
        self._guess, self._matched = "", 0
        for length in range(min(LONGEST_MATCH, len(self._text)), 0, -1):
            end = self._text[-length:]
            for start in (max(0, self._reached - length), 0):
                at = self._prediction.find(end, start) + length
                if length <= at < len(self._prediction):
                    self._reached = at
                    self._found(self._prediction[at : at + LONGEST_DRAFT], length, is_predicted=True)
                    return
            at = self._text.rfind(end, 0, len(self._text) - 1)
            if at >= 0:  # what repeats itself goes on
                self._found(
                    self._text[at + length :][:LONGEST_DRAFT] * LONGEST_DRAFT, length, is_predicted=False
                )
                return

    def _found(self, followed: str, matched: int, is_predicted: bool) -> None:
        followed, _, _ = followed.partition(IMAGE)
        self._guess, self._matched = followed[:LONGEST_DRAFT], matched
        self.is_predicted = is_predicted

    def _place(self, number: int) -> int:
        """Return the place of the chance that a token is right if the `number` before it were right."""
        return min(self._matched + number, LONGEST_MATCH) - 1


def _characters(tokens: Sequence[int]) -> str:
    return "".join(IMAGE if token >= FIRST_IMAGE_TOKEN else chr(token) for token in tokens)
