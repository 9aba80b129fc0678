"""AdamW whose two moments take 8 bits a value (Dettmers et al. 2022, arXiv:2110.02861).

Importing this module imports bitsandbytes, which takes a second. Axes: P values; B blocks of BLOCK values.
"""

from collections.abc import Iterator
from typing import Any

import torch
from bitsandbytes import functional
from torch import Tensor


class BlockwiseAdamW(torch.optim.Optimizer):
    """AdamW by bitsandbytes' kernel, which reads a moment, updates it in fp32, and rounds it to 8 bits again.

    Each group has one parameter of P values. Its state has `exp_avg` and `exp_avg_sq`, [P] in uint8, their
    scales, [B] in fp32, and `step`, on the CPU. `torch.optim.AdamW` makes the same update but for this
    rounding.
    """

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
        device = self.param_groups[0]["params"][0].device
        self._codes = [functional.create_dynamic_map(signed=signed).to(device) for signed in (True, False)]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update all parameters by their gradients."""
        assert closure is None
        for parameter, group, state in self._updates():
            state["step"] += 1
            functional.optimizer_update_8bit_blockwise(
                "adam",
                parameter.grad,
                parameter,
                state["exp_avg"],
                state["exp_avg_sq"],
                *group["betas"],
                0.0,  # beta3 and alpha, which AdamW does not have
                0.0,
                group["eps"],
                int(state["step"]),
                group["lr"],
                *self._codes,
                state["exp_avg_scale"],
                state["exp_avg_sq_scale"],
                weight_decay=group["weight_decay"],
            )

    def _updates(self) -> Iterator[tuple[Tensor, dict[str, Any], dict[str, Tensor]]]:
        for group in self.param_groups:
            (parameter,) = group["params"]
            yield parameter, group, self.state[parameter]
