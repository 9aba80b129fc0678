"""The order in which a job visits its examples, and which of them make a step."""

import numpy as np
from numpy.typing import NDArray

from core.jobs.spec import JobSpec


def order_of(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    """Return the permutation in which a job's epoch visits its examples."""
    return np.random.default_rng([seed, epoch]).permutation(examples)


class DataOrder:
    """The examples of each step. Epoch e visits them in the order of a permutation seeded with (seed, e).

    So the number of a step alone gives its examples. An example has `rows_per_example` rows side by side.
    """

    def __init__(self, spec: JobSpec, examples: int, rows_per_example: int) -> None:
        numbers = spec.hyperparameters
        self.batch_size = min(numbers.batch_size, examples)
        """The examples of a step; the last step of an epoch may have fewer"""
        self._steps_per_epoch = numbers.steps_per_epoch(examples)
        self._seed, self.examples, self._rows = spec.seed, examples, rows_per_example
        self._kept: tuple[int, NDArray[np.int64]] | None = None

    def of(self, epoch: int) -> NDArray[np.int64]:
        """Return the epoch's permutation of the examples; the last one that was asked for is kept."""
        if self._kept is None or self._kept[0] != epoch:
            self._kept = epoch, order_of(self._seed, epoch, self.examples)
        return self._kept[1]

    def row_numbers(self, examples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the rows of some examples."""
        return (examples[:, None] * self._rows + np.arange(self._rows)).ravel()

    def numbers_after(self, step: int) -> list[int]:
        """Return the numbers of the rows of the step that follows the first `step` steps."""
        epoch, step_in_epoch = divmod(step, self._steps_per_epoch)
        first = step_in_epoch * self.batch_size
        numbers: list[int] = self.row_numbers(self.of(epoch)[first : first + self.batch_size]).tolist()
        return numbers
