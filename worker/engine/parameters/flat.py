"""What an adapter trains, in one tensor, and the factors that the kernels compute with, which follow from it.

Axes: P numbers are trained, F are computed with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

Factors = Callable[[Tensor], Tensor]
"""The factors [F] of trained values [P]; differentiable."""

Kept = Mapping[str, Tensor]
"""What else a training goes on from, by name: it is restored into these tensors."""


@dataclass(frozen=True)
class Place:
    """Where a tensor stands in a flat one."""

    start: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        return self.start + prod(self.shape)

    def of(self, flat: Tensor) -> Tensor:
        return flat[self.start : self.stop].view(self.shape)


def places_of(parameters: Mapping[str, Tensor]) -> dict[str, Place]:
    """One behind the other, in their order."""
    places, start = {}, 0
    for name, parameter in parameters.items():
        places[name] = Place(start, tuple(parameter.shape))
        start = places[name].stop
    return places


class FlatParameters:
    """All parameters of one adapter in one fp32 tensor, `master`, whose parts have the names in `places`.

    `low` holds the factors in the type that is computed in: the master itself, or what `factors` makes of it.
    Each lane adds to a gradient of the factors of its own; `gather` brings them into `master.grad`. `kept` is
    saved and restored with the master. One tensor instead of hundreds makes clipping, the optimizer and the
    copy a few operations.
    """

    def __init__(
        self,
        values: Tensor,
        dtype: torch.dtype,
        lanes: int = 1,
        places: Mapping[str, Place] | None = None,
        factors: Factors | None = None,
        kept: Kept | None = None,
    ) -> None:
        self.master = values.float().requires_grad_()
        self.places = places or {}
        self.kept = kept or {}
        self._factors = factors
        self._made = self.factors()
        made = self._made.detach()
        self.low = made if factors is None and dtype == torch.float32 else made.to(dtype, copy=True)
        self.lane_gradients = [torch.zeros_like(made) for _ in range(lanes)]
        self.master.grad = self.lane_gradients[0] if factors is None else torch.zeros_like(self.master)

    @property
    def gradient(self) -> Tensor:
        """Of the master, [P], once it has been gathered."""
        assert self.master.grad is not None
        return self.master.grad

    def factors(self) -> Tensor:
        """What follows from the present values, [F] in fp32, with a way back to the master."""
        if self._factors is None:
            return self.master
        with torch.enable_grad():
            return self._factors(self.master)

    def refresh(self) -> None:
        """Compute with the present values from here on."""
        if self._factors is None and self.low.dtype == self.master.dtype:
            return
        self._made = self.factors()
        self.low.copy_(self._made.detach())

    def gather(self) -> None:
        """Bring the lanes' gradients into the master's, in the lanes' order; once after each `refresh`."""
        first, *others = self.lane_gradients
        for gradient in others:
            first.add_(gradient)
            gradient.zero_()
        if self._factors is not None:
            self._made.backward(first)
            first.zero_()

    def forget_gradient(self) -> None:
        for gradient in (*self.lane_gradients, self.gradient):
            gradient.zero_()

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """The parts of a tensor that is laid out as the master is."""
        return {name: place.of(flat) for name, place in self.places.items()}


def parts_of(flat: Mapping[str, Tensor], places: Mapping[str, Place]) -> dict[str, Tensor]:
    """The parts of several flat tensors, each under the tensor's name and its own."""
    return {
        f"{kind}.{name}": place.of(values) for kind, values in flat.items() for name, place in places.items()
    }
