"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290, eq. 7)."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from core.objectives.dpo import Dpo
from worker.engine.objectives.objective import ObjectiveLoss, Scores, preference_metrics


class DpoLoss(ObjectiveLoss):
    """DPO's loss: −log σ(r(chosen) − r(rejected)), where r(y) = β (log p(y|x) − log p_base(y|x))."""

    def __init__(self, options: Dpo) -> None:
        super().__init__(options)
        self._beta = options.beta

    def loss(self, scores: Scores) -> tuple[Tensor, Mapping[str, Tensor]]:
        rewards_P2 = (self._beta * (scores.logp_X - scores.reference_X)).view(-1, 2)
        chosen_P, rejected_P = rewards_P2.unbind(1)
        return -F.logsigmoid(chosen_P - rejected_P).mean(), preference_metrics(chosen_P, rejected_P)


LOSS = DpoLoss
