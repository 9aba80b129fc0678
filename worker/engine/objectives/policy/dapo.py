"""Decoupled clip and dynamic sampling policy optimisation (Yu et al. 2025, arXiv:2503.14476, eq. 8)."""

from torch import Tensor

from worker.engine.objectives.policy.clipped_loss import ClippedLoss
from worker.engine.objectives.policy.policy_loss import StepSize, mean_over_tokens


class DapoLoss(ClippedLoss):
    """DAPO's loss: L = −1/Σ_i |y_i| Σ_i Σ_t min(r A_i, clip(r, 1 − ε, 1 + ε_high) A_i), r = p / p_sampler.

    The sum of lengths counts the learnt tokens of all rollouts of the step.
    """

    def weights(self, lengths_X: Tensor, step: StepSize) -> Tensor:
        return mean_over_tokens(lengths_X, step)


LOSS = DapoLoss
