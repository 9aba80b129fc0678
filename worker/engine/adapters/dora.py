"""DoRA: the norm of each output's weights is trained apart from their direction.

The paper is Liu et al. 2024, arXiv:2402.09353.

    y = g ∘ (x Wᵀ + s (x Aᵀ) Bᵀ),   g = m / ‖W + s B A‖        m [N], the norm over K

The norm is a constant in the gradient (section 4.3 of the paper). It is computed without the sum W + s B A:

    ‖W + s B A‖² = ‖W‖² + 2 s B · (W Aᵀ) + s² B · (B A Aᵀ)      row by row
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.engine.decoders.layer_weight import weight_of
from worker.engine.parameters.factoring import Factoring
from worker.engine.parameters.flat import Extent

MAGNITUDE = "lora_magnitude_vector"
PARAMETERS = ("lora_A", "lora_B", MAGNITUDE)


@dataclass(frozen=True)
class DoraLayer:
    """A frozen layer, the scale of its update, and the squared norms of its weights, [N].

    The weight is read from the layer each time, because it may be quantised.
    """

    frozen: Any
    scale: float
    squares_N: Tensor

    @classmethod
    def of(cls, frozen: Any, scale: float) -> "DoraLayer":
        return cls(frozen, scale, weight_of(frozen).square().sum(1))

    def norms(self, A_RK: Tensor, B_NR: Tensor) -> Tensor:
        """Return the norm of each output's weights, [N] in fp32."""
        WA_NR = weight_of(self.frozen) @ A_RK.T
        BAA_NR = B_NR @ (A_RK @ A_RK.T)
        squares_N = self.squares_N + self.scale * (B_NR * (2 * WA_NR + self.scale * BAA_NR)).sum(1)
        return squares_N.clamp_min(torch.finfo(squares_N.dtype).tiny).sqrt()


def dora_factoring(
    extents: Mapping[str, Extent], values: Tensor, layers: Mapping[str, DoraLayer]
) -> Factoring:
    """Return the map from A, B and m to the factors A, B and, in the place of each m, g - 1.

    Sets every m in `values` [P], so that training begins with g exactly 1.
    """

    def norms(flat: Tensor) -> dict[str, Tensor]:
        return {
            module: layer.norms(extents[f"{module}.lora_A"].of(flat), extents[f"{module}.lora_B"].of(flat))
            for module, layer in layers.items()
        }

    with torch.no_grad():
        for module, norms_N in norms(values).items():
            extents[f"{module}.{MAGNITUDE}"].of(values).copy_(norms_N)
    first = min(extents[f"{module}.{MAGNITUDE}"].start for module in layers)

    def factors(master: Tensor) -> Tensor:
        with torch.no_grad():
            constant = norms(master)
        gains = [extents[f"{module}.{MAGNITUDE}"].of(master) / constant[module] - 1 for module in layers]
        return torch.cat([master[:first], *gains])

    return Factoring(extents, factors)
