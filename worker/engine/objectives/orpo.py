"""Odds ratio preference optimisation (Hong et al. 2024, arXiv:2403.07691, eq. 3 to 7)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from core.objectives.orpo import Orpo
from worker.engine.objectives.objective import ObjectiveLoss, Scores, preference_metrics


class OrpoLoss(ObjectiveLoss):
    """ORPO's loss: −log p(chosen) − β log σ(log odds(chosen) − log odds(rejected)).

    Here odds(y) = p(y) / (1 − p(y)). p(y) is the geometric mean of the probabilities of the answer's tokens:
    log p(y) = log p(y|x) / |y|.
    """

    def __init__(self, options: Orpo) -> None:
        super().__init__(options)
        self._beta = options.beta

    def loss(self, scores: Scores) -> tuple[Tensor, Mapping[str, Tensor]]:
        mean_X = scores.logp_X / scores.tokens_X
        chosen_P, rejected_P = mean_X.view(-1, 2).unbind(1)
        ratio_P = log_odds(chosen_P) - log_odds(rejected_P)
        nll = -chosen_P.mean()
        loss = nll - self._beta * F.logsigmoid(ratio_P).mean()
        metrics = preference_metrics(self._beta * chosen_P, self._beta * rejected_P)
        return loss, {**metrics, "nll_loss": nll, "log_odds_chosen": ratio_P.mean()}


def log_odds(logp_P: Tensor) -> Tensor:
    """Return log(p / (1 − p)). p is kept below 1 by the precision of fp32, in which it was computed."""
    logp_P = logp_P.clamp(max=-torch.finfo(torch.float32).eps)
    return logp_P - torch.log(-torch.expm1(logp_P))


LOSS = OrpoLoss
