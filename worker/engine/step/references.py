"""The base model's log-probabilities of a job's rows, computed once for each row when it is first needed."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class References:
    """Log-probabilities of rows, by the rows' numbers.

    Rounding depends on which rows are computed together. But a job that goes on from a checkpoint must end
    with the same bits as a job that was never interrupted. So a row's value is always computed together with
    the same rows: those of its step in the first epoch. Without steps, the value is computed together with
    the rows that are asked for at the same time.
    """

    def __init__(self, steps: Iterable[Sequence[int]] = ()) -> None:
        """`steps` are the numbers of each step's rows in the first epoch."""
        self._steps = list(steps)
        self._step_of = {number: step for step, numbers in enumerate(self._steps) for number in numbers}
        self._known: dict[int, float] = {}

    def missing(self, numbers: Iterable[int]) -> list[Sequence[int]]:
        """Return the lists of rows to compute, each list by itself, so that all `numbers` become known."""
        unknown = [number for number in numbers if number not in self._known]
        if not self._steps:
            return [unknown] if unknown else []
        return [self._steps[step] for step in sorted({self._step_of[number] for number in unknown})]

    def keep(self, numbers: Iterable[int], logp: Iterable[float]) -> None:
        self._known.update(zip(numbers, logp, strict=True))

    def of(self, numbers: Iterable[int]) -> Tensor:
        """Return the log-probabilities in fp64, with NaN for rows that have not been computed."""
        return torch.tensor(
            [self._known.get(number, float("nan")) for number in numbers], dtype=torch.float64
        )
