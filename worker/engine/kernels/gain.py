"""A trained gain on what a projection gives, its bias apart: y = u + e ∘ (u - b), where the gain is 1 + e.

What is computed with is e: in bf16 the gain itself, which stays near 1, could only move in steps of 1 / 256.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gain:
    """On the `columns` of one projection, for one adapter's tokens; de_N is one lane's gradient of e_N."""

    columns: slice
    e_N: Tensor
    de_N: Tensor
    bias_N: Tensor | None = None

    def apply(self, y_TN: Tensor) -> None:
        """Where it stands."""
        u_TN = y_TN[:, self.columns]
        u_TN.addcmul_(self._without_bias(u_TN), self.e_N.to(u_TN.dtype))

    def add_gradients(self, dy_TN: Tensor, y_TN: Tensor) -> None:
        """Add to e's gradient, of what has been given; dy_TN becomes du_TN where it stands."""
        dy_TN = dy_TN[:, self.columns]
        gained_TN = self._without_bias(y_TN[:, self.columns])
        gain_N = 1 + self.e_N.float()
        sums_N = (gained_TN * dy_TN).sum(0, dtype=torch.float32)
        self.de_N.add_(torch.where(gain_N == 0, 0, sums_N / gain_N))  # a row of zeros stays one
        dy_TN.addcmul_(dy_TN, self.e_N.to(dy_TN.dtype))

    def _without_bias(self, y_TN: Tensor) -> Tensor:
        return y_TN if self.bias_N is None else y_TN - self.bias_N.to(y_TN.dtype)
