"""Dr. GRPO, which is GRPO without the bias of lengths (Liu et al. 2025, arXiv:2503.20783, fig. 1)."""

from torch import Tensor

from worker.engine.objectives.policy.clipped_loss import ClippedLoss
from worker.engine.objectives.policy.policy_loss import StepSize, constant_length


class DrGrpoLoss(ClippedLoss):
    """Dr. GRPO's loss: L = −1/(G M) Σ_i Σ_t min(r A_i, clip(r, 1 − ε, 1 + ε_high) A_i), r = p / p_sampler.

    G are all rollouts of the step, and M is `max_completion_tokens`. The paper has ε_high = ε.
    """

    def weights(self, lengths_X: Tensor, step: StepSize) -> Tensor:
        return constant_length(lengths_X, step, self.max_completion_tokens)


LOSS = DrGrpoLoss
