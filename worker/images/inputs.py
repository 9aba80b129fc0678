"""What goes between a process that reads images and the process that asks it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Detail = Literal["auto", "low", "high"]
Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Order:
    """An image to read: its bytes as they were sent, and the detail that its client wants.

    Without `wants_arrays`, only its words are of interest.
    """

    content: bytes
    detail: Detail
    wants_arrays: bool


@dataclass(frozen=True)
class ImageInputs:
    """What a base model reads of one image.

    `words` take the place of the image's placeholder in the text of a row. `tokens` of their tokens are the
    one that stands for a part of the image. `arrays` are the arguments of the model's tower.
    """

    words: str
    tokens: int
    arrays: Arrays


@dataclass(frozen=True)
class Placeholders:
    """How a base model marks images: the text in the place of one, and the token of each of its parts."""

    text: str
    token: int
