"""The frozen weight of a projection, as the kernels see it: the two products that they take with it."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine.kernels.in_c import products as in_c


class FrozenWeight(Protocol):
    """A frozen weight W [N, K], with its bias b [N] if it has one.

    An implementation may hold W in any form. Lanes take products at the same time, each in its own thread. A
    product is new memory, which the caller may change.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of outputs and of inputs: N, K."""

    @property
    def bias_N(self) -> Tensor | None: ...  # noqa: N802 - axes

    def forward(self, x_TK: Tensor) -> Tensor:
        """Return y_TN = x Wᵀ + b."""

    def backward(self, dy_TN: Tensor) -> Tensor:
        """Return dx_TK = dy W."""


class RoundedWeight(FrozenWeight, Protocol):
    """A frozen weight in one format of 8 bits. Its products round each row of the other factor too."""

    multiple_of: ClassVar[int]
    """The numbers of inputs and of outputs must be multiples of this."""

    @classmethod
    def is_fast_on(cls, device: torch.device) -> bool:
        """Return whether the device takes products in this format, and faster than in bf16."""

    @classmethod
    def of(cls, weight_NK: Tensor, bias_N: Tensor | None = None) -> Self:
        """Return the rounded weight. The numbers that it was made from are not needed any more."""


@dataclass(frozen=True)
class DenseWeight:
    """A weight that is in memory as a whole, in the type of its inputs."""

    weight_NK: Tensor
    bias_N: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        outputs, inputs = self.weight_NK.shape
        return outputs, inputs

    def forward(self, x_TK: Tensor) -> Tensor:
        # C has no gradient. Autograd functions, which have their own, turn gradients off
        if torch.is_grad_enabled() or (y_TN := in_c.product(x_TK, self.weight_NK)) is None:
            return F.linear(x_TK, self.weight_NK, self.bias_N)
        return y_TN if self.bias_N is None else y_TN.add_(self.bias_N)

    def backward(self, dy_TN: Tensor) -> Tensor:
        return dy_TN @ self.weight_NK


def product(x_TK: Tensor, weight: FrozenWeight) -> Tensor:
    """Return `weight.forward(x_TK)`, with `weight.backward` as its gradient."""
    return _Product.apply(x_TK, weight)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_TK, weight):  # type: ignore[no-untyped-def]
        ctx.weight = weight
        return weight.forward(x_TK)

    @staticmethod
    def backward(ctx, dy_TN):  # type: ignore[no-untyped-def]
        return ctx.weight.backward(dy_TN), None
