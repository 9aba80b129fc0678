"""A rendered row: the tokens of one line of a dataset, and which of them the model learns to predict."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.rows.image_store import ImageStore


@dataclass(frozen=True)
class Row:
    """One rendered row of L tokens. `line` is the number of its line in the file.

    `learnt_L[i]` says whether the model learns to predict token i. `weights_L[i]` is the weight of the
    message that token i belongs to, if the token is learnt; `weights_L` is None if all these weights are 1.
    `desirable` says whether the answer is desirable; the second of two answers is not.
    """

    line: int
    tokens_L: NDArray[np.int32]
    learnt_L: NDArray[np.bool_]
    weights_L: NDArray[np.float32] | None = None
    desirable: bool = True
    acts_from: int = 0
    """The first token on which the adapter acts. An adapter that is never invoked acts from the end on"""
    images: ImageStore | None = None
    """The vectors of the tokens that stand for images, if there are any"""

    @property
    def supervised(self) -> int:
        """The number of tokens that are learnt. The first token never counts: it has no token before it."""
        return int(self.learnt_L[1:].sum())

    @property
    def weight(self) -> float:
        """The sum of the weights of these tokens."""
        if self.weights_L is None:
            return self.supervised
        return float(self.weights_L[1:][self.learnt_L[1:]].sum(dtype=np.float64))
