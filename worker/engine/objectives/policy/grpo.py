"""Group relative policy optimisation (Shao et al. 2024, arXiv:2402.03300, eq. 3), without its KL term."""

from torch import Tensor

from worker.engine.objectives.policy.clipped_loss import ClippedLoss
from worker.engine.objectives.policy.policy_loss import StepSize, mean_over_rollouts


class GrpoLoss(ClippedLoss):
    """GRPO's loss: L = −1/G Σ_i 1/|y_i| Σ_t min(r A_i, clip(r, 1 − ε, 1 + ε_high) A_i), r = p / p_sampler.

    G are all rollouts of the step. The paper has ε_high = ε.
    """

    def weights(self, lengths_X: Tensor, step: StepSize) -> Tensor:
        return mean_over_rollouts(lengths_X, step)


LOSS = GrpoLoss
