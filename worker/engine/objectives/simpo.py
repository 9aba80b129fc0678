"""Simple preference optimisation (Meng et al. 2024, arXiv:2405.14734, eq. 6)."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from core.objectives.simpo import Simpo
from worker.engine.objectives.objective import ObjectiveLoss, Scores, preference_metrics


class SimpoLoss(ObjectiveLoss):
    """SimPO's loss: −log σ(r(chosen) − r(rejected) − γ), where r(y) = β / |y| · log p(y|x)."""

    def __init__(self, options: Simpo) -> None:
        super().__init__(options)
        self._beta, self._gamma = options.beta, options.gamma

    def loss(self, scores: Scores) -> tuple[Tensor, Mapping[str, Tensor]]:
        rewards_P2 = (self._beta * scores.logp_X / scores.tokens_X).view(-1, 2)
        chosen_P, rejected_P = rewards_P2.unbind(1)
        loss = -F.logsigmoid(chosen_P - rejected_P - self._gamma).mean()
        return loss, preference_metrics(chosen_P, rejected_P)


LOSS = SimpoLoss
