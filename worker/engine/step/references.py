"""The reference's log-probabilities of a job's rows, computed once for each row when it is first needed.

The reference is the base model, or the adapter from which the job continues.
"""

from collections.abc import Sequence
from math import isnan

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.step.passes import SpreadRowPass


class References:
    """Log-probabilities of rows, by the rows' numbers.

    Rounding depends on which rows are computed together. But a job that goes on from a checkpoint must end
    with the same bits as a job that was never interrupted. So a row's value is always computed together with
    the same rows: those of its step in the first epoch. Without steps, the value is computed together with
    the rows that are asked for at the same time.
    """

    def __init__(self, order: NDArray[np.int64] | None = None, step_rows: int = 1) -> None:
        """`order` holds the numbers of all rows, in the order in which the first epoch visits them.

        Each of its steps takes `step_rows` rows. None stands for rows without steps.
        """
        self._order, self._step_rows = order, step_rows
        self._position_of = None if order is None else np.argsort(order)
        self.begun: tuple[Sequence[int], SpreadRowPass] | None = None
        """Rows whose pass is spread over rounds and not complete, with their pass"""
        self._known = np.empty(0)  # NaN for a row that is not known; rows beyond the end are not known either

    def missing(self, numbers: Sequence[int]) -> list[Sequence[int]]:
        """Return the lists of rows to compute, each list by itself, so that all `numbers` become known."""
        unknown = [
            number for number, known in zip(numbers, self.of(numbers).tolist(), strict=True) if isnan(known)
        ]
        if self._order is None or self._position_of is None:
            return [unknown] if unknown else []
        size = self._step_rows
        steps = np.unique(self._position_of[unknown] // size)
        return [self._order[step * size : (step + 1) * size].tolist() for step in steps]

    def begun_with(self, numbers: Sequence[int], max_tokens: int) -> SpreadRowPass | None:
        """Return the pass that has been begun over these rows, if its micro-batches have this size."""
        if self.begun is None:
            return None
        begun, spread = self.begun
        return spread if begun == numbers and spread.max_tokens == max_tokens else None

    def keep(self, numbers: Sequence[int], logp: Sequence[float]) -> None:
        more = max(numbers) + 1 - len(self._known)
        self._known = np.pad(self._known, (0, max(0, more)), constant_values=np.nan)
        self._known[numbers] = logp

    def of(self, numbers: Sequence[int]) -> Tensor:
        """Return the log-probabilities in fp64, with NaN for rows that have not been computed."""
        known = len(self._known)
        found = [self._known[number] if number < known else np.nan for number in numbers]
        return torch.tensor(found, dtype=torch.float64)
