"""A rendered row: the tokens of one line of a dataset, and which of them the model learns to predict."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Row:
    """One rendered row; `line` is its number in the file. learnt_L[i]: token i is to be predicted.

    `weights_L` are the weights of the learnt tokens' messages, None where all are 1. `desirable` is what the
    dataset says of an answer: of two, the second is not.
    """

    line: int
    tokens_L: NDArray[np.int32]
    learnt_L: NDArray[np.bool_]
    weights_L: NDArray[np.float32] | None = None
    desirable: bool = True

    @property
    def supervised(self) -> int:
        """Predictions that count: the first token has nothing before it."""
        return int(self.learnt_L[1:].sum())

    @property
    def weight(self) -> float:
        """The sum of the weights of these predictions."""
        if self.weights_L is None:
            return self.supervised
        return float(self.weights_L[1:][self.learnt_L[1:]].sum(dtype=np.float64))
