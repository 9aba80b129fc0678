"""What the base model alone gives a job's rows: computed once for each, when it is first needed."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class References:
    """Log-probabilities of rows, by the rows' numbers.

    Rounding depends on what is computed together, and a job that goes on from a checkpoint must end to the
    bit as one that was never disturbed. So a row's value is always computed among the same others: those of
    its `step` in the first epoch, where it is needed first. Without steps, among those that are asked for
    with it.
    """

    def __init__(self, steps: Iterable[Sequence[int]] = ()) -> None:
        """`steps` are the numbers of each step's rows in the first epoch."""
        self._steps = list(steps)
        self._step_of = {number: step for step, numbers in enumerate(self._steps) for number in numbers}
        self._known: dict[int, float] = {}

    def missing(self, numbers: Iterable[int]) -> list[Sequence[int]]:
        """What must be computed before all `numbers` are known, each by itself."""
        unknown = [number for number in numbers if number not in self._known]
        if not self._steps:
            return [unknown] if unknown else []
        return [self._steps[step] for step in sorted({self._step_of[number] for number in unknown})]

    def keep(self, numbers: Iterable[int], logp: Iterable[float]) -> None:
        self._known.update(zip(numbers, logp, strict=True))

    def of(self, numbers: Iterable[int]) -> Tensor:
        """In fp64; NaN for those that nobody has computed."""
        return torch.tensor(
            [self._known.get(number, float("nan")) for number in numbers], dtype=torch.float64
        )
