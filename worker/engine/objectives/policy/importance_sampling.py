"""The policy gradient (REINFORCE: Williams 1992) with importance sampling, and a constant length.

The importance weight makes the gradient that of the policy, although the sampler's probabilities may differ.
The constant length is that of Dr. GRPO (Liu et al. 2025, arXiv:2503.20783).
"""

import torch
from torch import Tensor

from worker.engine.objectives.policy.policy_loss import (
    PolicyLoss,
    RolloutTokens,
    StepSize,
    TokenTerms,
    constant_length,
)


class ImportanceSamplingLoss(PolicyLoss):
    """The loss L = −1/(G M) Σ_i Σ_t r A, where r = p / p_sampler.

    Its gradient is −1/(G M) Σ_i Σ_t r A ∇log p. G are all rollouts of the step, and M is
    `max_completion_tokens`. Nothing is clipped.
    """

    def weights(self, lengths_X: Tensor, step: StepSize) -> Tensor:
        return constant_length(lengths_X, step, self.max_completion_tokens)

    def terms(self, tokens: RolloutTokens) -> TokenTerms:
        ratio_S = tokens.ratios_S
        loss_S = -ratio_S * tokens.advantages_S
        return TokenTerms(loss_S, loss_S, ratio_S, torch.zeros_like(ratio_S, dtype=torch.bool))


LOSS = ImportanceSamplingLoss
