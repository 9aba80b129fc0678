"""A trained gain on the output of a projection.

    y = u + e ∘ (u - b)

Here u is the projection's output, b is its bias, and 1 + e is the gain, one number for each output. So the
bias gets no gain. The kernels compute with e and not with the gain itself: the gain stays near 1, where bf16
has steps of 1 / 256 below 1 and of 1 / 128 above.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gain:
    """The gain of one adapter on the `columns` of one projection; de_N is one lane's gradient of e_N."""

    columns: slice
    e_N: Tensor
    de_N: Tensor
    bias_N: Tensor | None = None

    def apply(self, y_TN: Tensor) -> None:
        """Apply the gain to y_TN in place; y_TN holds one adapter's tokens."""
        u_TN = y_TN[:, self.columns]
        u_TN.addcmul_(self._without_bias(u_TN), self.e_N.to(u_TN.dtype))

    def add_gradients(self, dy_TN: Tensor, y_TN: Tensor) -> None:
        """Add to the gradient of e, and turn dy_TN into du_TN in place. y_TN is the output with its gain."""
        dy_TN = dy_TN[:, self.columns]
        gained_TN = self._without_bias(y_TN[:, self.columns])
        gain_N = 1 + self.e_N.float()
        sums_N = (gained_TN * dy_TN).sum(0, dtype=torch.float32)
        self.de_N.add_(torch.where(gain_N == 0, 0, sums_N / gain_N))  # an output whose gain is 0 stays 0
        dy_TN.addcmul_(dy_TN, self.e_N.to(dy_TN.dtype))

    def _without_bias(self, y_TN: Tensor) -> Tensor:
        return y_TN if self.bias_N is None else y_TN - self.bias_N.to(y_TN.dtype)
