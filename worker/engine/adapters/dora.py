"""DoRA: the norm of each output's weights is trained apart from their direction (Liu et al. 2024,
arXiv:2402.09353).

    y = g ∘ (x Wᵀ + s (x Aᵀ) Bᵀ),   g = m / ‖W + s B A‖        m [N], the norm over K

The norm is a constant in the gradient (the paper's section 4.3). It is found without the sum of the two:

    ‖W + s B A‖² = ‖W‖² + 2 s B · (W Aᵀ) + s² B · (B A Aᵀ)      row by row
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.engine.base.quantisation import weight_of
from worker.engine.parameters.factoring import Factoring
from worker.engine.parameters.flat import Place

MAGNITUDE = "lora_magnitude_vector"
PARTS = ("lora_A", "lora_B", MAGNITUDE)


@dataclass(frozen=True)
class Layer:
    """A frozen layer, its update's scale, and the squared norms of its weights, [N].

    The weight itself is asked for each time: it may be quantised.
    """

    frozen: Any
    scale: float
    squares_N: Tensor

    @classmethod
    def of(cls, frozen: Any, scale: float) -> "Layer":
        return cls(frozen, scale, weight_of(frozen).square().sum(1))

    def norms(self, A_RK: Tensor, B_NR: Tensor) -> Tensor:
        """Of each output's weights, [N] in fp32."""
        WA_NR = weight_of(self.frozen) @ A_RK.T
        BAA_NR = B_NR @ (A_RK @ A_RK.T)
        squares_N = self.squares_N + self.scale * (B_NR * (2 * WA_NR + self.scale * BAA_NR)).sum(1)
        return squares_N.clamp_min(torch.finfo(squares_N.dtype).tiny).sqrt()


def with_magnitudes(places: Mapping[str, Place], values: Tensor, layers: Mapping[str, Layer]) -> Factoring:
    """A, B and, in each m's place, g - 1. Sets every m in `values` [P] so that g is 1, to the bit."""

    def norms(flat: Tensor) -> dict[str, Tensor]:
        return {
            module: layer.norms(places[f"{module}.lora_A"].of(flat), places[f"{module}.lora_B"].of(flat))
            for module, layer in layers.items()
        }

    with torch.no_grad():
        for module, norms_N in norms(values).items():
            places[f"{module}.{MAGNITUDE}"].of(values).copy_(norms_N)
    first = min(places[f"{module}.{MAGNITUDE}"].start for module in layers)

    def factors(master: Tensor) -> Tensor:
        with torch.no_grad():
            constant = norms(master)
        gains = [places[f"{module}.{MAGNITUDE}"].of(master) / constant[module] - 1 for module in layers]
        return torch.cat([master[:first], *gains])

    return Factoring(places, factors)
