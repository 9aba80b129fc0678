"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7 and 8).

The paper compares each reward with z = KL(p || p_base), which is estimated from answers to other prompts. As
in TRL, each row has one companion for the whole job (`worker/rendering/companions.py`). z is the mean of
log p − log p_base over the companions of a step, and at least 0. No gradient flows through z.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from core.objectives.kto import Kto
from worker.engine.objectives.objective import ObjectiveLoss, Scores


class KtoLoss(ObjectiveLoss):
    """KTO's loss: w (1 − σ(β (r − z))) for a desirable answer, w (1 − σ(β (z − r))) for an undesirable one.

    Here r = log p − log p_base. Each example has two rows: the answer, and its companion, which is measured
    but not learned.
    """

    examples_apart = False  # z is a mean over the step

    def __init__(self, options: Kto) -> None:
        super().__init__(options)
        self._options = options

    def loss(self, scores: Scores) -> tuple[Tensor, Mapping[str, Tensor]]:
        options = self._options
        ratios_P, companions_P = (scores.logp_X - scores.reference_X).view(-1, 2).unbind(1)
        desirable_P = scores.desirable_X.view(-1, 2)[:, 0]
        z = companions_P.mean().clamp(min=0).detach()
        signs_P = torch.where(desirable_P, 1.0, -1.0).double()
        weights_P = torch.where(desirable_P, options.desirable_weight, options.undesirable_weight).double()
        losses_P = weights_P * (1 - torch.sigmoid(options.beta * signs_P * (ratios_P - z)))
        chosen, rejected = (options.beta * ratios_P[which].mean() for which in (desirable_P, ~desirable_P))
        metrics = {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
        }
        return losses_P.mean(), {**metrics, "kl": z}


LOSS = KtoLoss
