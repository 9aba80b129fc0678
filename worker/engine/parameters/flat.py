"""The trained values of an adapter, in one tensor, and the factors that follow from them for the kernels.

Axes: P trained values; F values of the factors.
"""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

Factors = Callable[[Tensor], Tensor]
"""A differentiable map from trained values, [P], to factors, [F]."""

Kept = Mapping[str, Tensor]
"""Further tensors that a resumed training needs, by name: their values are restored into these tensors."""


@dataclass(frozen=True)
class Extent:
    """The extent of a tensor inside a flat tensor."""

    start: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        return self.start + prod(self.shape)

    def of(self, flat: Tensor) -> Tensor:
        """Return the tensor as a view of the flat one."""
        return flat[self.start : self.stop].view(self.shape)


def extents_of(parameters: Mapping[str, Tensor]) -> dict[str, Extent]:
    """Return extents for the parameters, one behind the other, in their order."""
    extents, start = {}, 0
    for name, parameter in parameters.items():
        extents[name] = Extent(start, tuple(parameter.shape))
        start = extents[name].stop
    return extents


class FlatParameters:
    """All parameters of one adapter in one fp32 tensor, `master`. `extents` says where each of them lies.

    `low` holds the factors in the type that the kernels compute in. The factors are the master itself, or
    follow from it by `factors`. Each lane adds to its own gradient of the factors, and `gather` brings these
    gradients into `master.grad`. `kept` are tensors that are saved and restored with the master. `undecayed`
    are the names of the parameters that take no weight decay. Because there is one tensor instead of
    hundreds, clipping, the optimizer and the copy take a few operations.
    """

    def __init__(
        self,
        values: Tensor,
        dtype: torch.dtype,
        lanes: int = 1,
        extents: Mapping[str, Extent] | None = None,
        factors: Factors | None = None,
        kept: Kept | None = None,
        undecayed: AbstractSet[str] = frozenset(),
    ) -> None:
        self.master = values.float().requires_grad_()
        self.extents = extents or {}
        self.kept = kept or {}
        self.undecayed = undecayed
        self._factors = factors
        self._made = self.factors()
        made = self._made.detach()
        self.low = made if factors is None and dtype == torch.float32 else made.to(dtype, copy=True)
        self.lane_gradients = [torch.zeros_like(made) for _ in range(lanes)]
        self.master.grad = self.lane_gradients[0] if factors is None else torch.zeros_like(self.master)

    @property
    def gradient(self) -> Tensor:
        """The gradient of the master, [P]; it is complete after `gather`."""
        assert self.master.grad is not None
        return self.master.grad

    def factors(self) -> Tensor:
        """Return the factors of the present values, [F] in fp32; gradients flow back to the master."""
        if self._factors is None:
            return self.master
        with torch.enable_grad():
            return self._factors(self.master)

    def refresh(self) -> None:
        """Update `low`, so that the kernels compute with the present values from here on."""
        if self._factors is None and self.low.dtype == self.master.dtype:
            return
        self._made = self.factors()
        self.low.copy_(self._made.detach())

    @contextmanager
    def holding(self, values: Tensor) -> Iterator[None]:
        """Compute with these values, [P], inside the block, and then with the present ones again.

        Nothing may save the parameters inside: these values would be saved.
        """
        present = self.master.detach().clone()
        try:
            self.master.detach().copy_(values)
            self.refresh()
            yield
        finally:
            self.master.detach().copy_(present)
            self.refresh()

    def gather(self) -> None:
        """Add the lanes' gradients to the master's, in the lanes' order; once after each `refresh`."""
        first, *others = self.lane_gradients
        for gradient in others:
            first.add_(gradient)
            gradient.zero_()
        if self._factors is not None:
            self._made.backward(first)
            first.zero_()

    def forget_gradient(self) -> None:
        """Set all gradients to zero."""
        for gradient in (*self.lane_gradients, self.gradient):
            gradient.zero_()

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """Return the tensors, by name, within one that has the master's layout."""
        return {name: extent.of(flat) for name, extent in self.extents.items()}


def named_tensors(flat: Mapping[str, Tensor], extents: Mapping[str, Extent]) -> dict[str, Tensor]:
    """Return the tensors within several flat ones, each as "flat tensor's name.own name"."""
    return {
        f"{kind}.{name}": extent.of(values)
        for kind, values in flat.items()
        for name, extent in extents.items()
    }
