"""The clipped loss of PPO (Schulman et al. 2017, arXiv:1707.06347, eq. 7), which several losses share."""

import torch
from torch import Tensor

from worker.engine.objectives.policy.policy_loss import PolicyLoss, RolloutTokens, TokenTerms


class ClippedLoss(PolicyLoss):
    """ℓ = −min(r A, clip(r, 1 − ε, 1 + ε_high) A), where r = p / p_sampler.

    A token whose ratio is beyond the bound in the direction of its advantage has no gradient.
    """

    def ratios(self, tokens: RolloutTokens) -> Tensor:
        """Return r of each token."""
        return tokens.ratios_S

    def terms(self, tokens: RolloutTokens) -> TokenTerms:
        ratio_S, advantages_S = self.ratios(tokens), tokens.advantages_S
        gain_S = ratio_S * advantages_S
        bounded_S = ratio_S.clamp(self.lowest, self.highest) * advantages_S
        beyond_S = torch.where(advantages_S > 0, ratio_S > self.highest, ratio_S < self.lowest)
        clipped_S = beyond_S & (advantages_S != 0)
        slope_S = torch.where(clipped_S, torch.zeros_like(gain_S), -gain_S)
        return TokenTerms(-torch.minimum(gain_S, bounded_S), slope_S, ratio_S, clipped_S)
