"""The images of one file: what each is in the text and in the tokens of a row, under one base model."""

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import TemplateError

from core.datasets.images import image_parts
from core.images.parts import TYPE, encoded_image
from worker.images.inputs import Arrays, Detail, Placeholders
from worker.images.reader import ImageReader
from worker.rendering.render_request import RenderedImages
from worker.rows.image_store import FIRST_IMAGE_TOKEN, with_placeholders

Message = dict[str, Any]


@dataclass(frozen=True)
class SeenImage:
    """An image of a file: its words in a row's text, and the numbers of the vectors that its tokens have."""

    words: str
    numbers: range


class FileImages:
    """The images of one file. Equal images in equal detail have the same vectors, whatever row has them."""

    def __init__(self, folder: Path) -> None:
        """`folder` has the base model's processor. It is loaded for the first image."""
        self.reader = ImageReader(folder)
        self.vectors = 0
        """How many vectors all images have that were seen so far"""
        self._seen: dict[tuple[bytes, Detail], SeenImage] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def of(self, messages: Sequence[Message]) -> "ConversationImages | None":
        """Return the images of a conversation; None if it has none. Raises UnusableImage."""
        seen = [self._see(*_image(part)) for part in _parts(messages)]
        return ConversationImages(self.reader.placeholders, seen) if seen else None

    @property
    def digest(self) -> bytes:
        """A hash of all images that were seen, in their order."""
        return hashlib.sha256(b"".join(content + detail.encode() for content, detail in self._seen)).digest()

    @property
    def summary(self) -> RenderedImages | None:
        """This tells a reader of the rows which images they have. It is None if they have none."""
        if not self._seen:
            return None
        first = [image.numbers.start for image in self._seen.values()]
        return RenderedImages(self.reader.placeholders.token, first)

    def arrays(self, conversations: Iterable[Sequence[Message]]) -> Iterator[tuple[int, Arrays]]:
        """Read the images of the same conversations again, in the same order.

        Yield the number of the first vector of each new image, and the arguments of the model's tower.
        """
        done = 0
        for part in (part for messages in conversations for part in _parts(messages)):
            content, detail = _image(part)
            numbers = self._see(content, detail).numbers
            if numbers.start == done:
                done = numbers.stop
                yield numbers.start, self.reader.read(content, detail, wants_arrays=True).arrays

    def _see(self, content: bytes, detail: Detail) -> SeenImage:
        key = hashlib.sha256(content).digest(), detail
        if (known := self._seen.get(key)) is None:
            found = self.reader.read(content, detail, wants_arrays=False)
            numbers = range(self.vectors, self.vectors + found.tokens)
            known = self._seen[key] = SeenImage(sys.intern(found.words), numbers)  # most are alike
            self.vectors = numbers.stop
        return known


class ConversationImages:
    """The images of one conversation, in their order."""

    def __init__(self, placeholders: Placeholders, seen: Sequence[SeenImage]) -> None:
        self._placeholders, self._seen = placeholders, seen
        self._numbers = np.concatenate([np.asarray(image.numbers, np.int64) for image in seen])

    @property
    def tokens(self) -> int:
        """The number of tokens that stand for a part of an image."""
        return len(self._numbers)

    def expanded(self, text: str, count: int | None = None) -> str:
        """Return a text with the words of the first `count` images, or of all, in the place of placeholders.

        Raises TemplateError if the text has another number of placeholders.
        """
        count = len(self._seen) if count is None else count
        placeholder = self._placeholders.text
        first, *others = text.split(placeholder)
        if len(others) != count:
            raise TemplateError(
                f"{placeholder!r} stands for an image; the text has it {len(others)} times, for {count} "
                f"image{'' if count == 1 else 's'}; write it once for each image, and nowhere else"
            )
        return first + "".join(
            image.words + part for image, part in zip(self._seen[:count], others, strict=True)
        )

    def tokens_among(self, tokens: Sequence[int]) -> int:
        """Return how many tokens stand for a part of an image."""
        return sum(token == self._placeholders.token for token in tokens)

    def without_numbers(self, tokens: Sequence[int]) -> list[int]:
        """Return the tokens of which `numbered` made these."""
        return with_placeholders(tokens, self._placeholders.token)

    def numbered(self, tokens: Sequence[int]) -> list[int]:
        """Return tokens in which those that stand for a part of an image say which vector they have."""
        tokens_L = np.asarray(tokens, np.int64)
        at_I = np.flatnonzero(tokens_L == self._placeholders.token)
        tokens_L[at_I] = FIRST_IMAGE_TOKEN + self._numbers[: len(at_I)]
        return tokens_L.tolist()


def _parts(messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    for message in messages:
        for _, part in image_parts(message):
            yield part[TYPE]


def _image(image: dict[str, Any]) -> tuple[bytes, Detail]:
    return encoded_image(image["url"]).content, image.get("detail") or "auto"
