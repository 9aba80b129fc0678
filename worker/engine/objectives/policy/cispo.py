"""Clipped importance sampling policy optimisation (MiniMax 2025, arXiv:2506.13585, eq. 4 and 5)."""

from torch import Tensor

from worker.engine.objectives.policy.policy_loss import (
    PolicyLoss,
    RolloutTokens,
    StepSize,
    TokenTerms,
    mean_over_tokens,
)


class CispoLoss(PolicyLoss):
    """CISPO's loss: L = −1/Σ_i |y_i| Σ_i Σ_t sg(min(r, 1 + ε_high)) A_i log p, where r = p / p_sampler.

    No gradient flows through sg. So a clipped token keeps a gradient, unlike in PPO. As in the paper's
    experiments, the ratio has no lower bound. The sum of lengths counts the learnt tokens of all rollouts of
    the step.
    """

    def weights(self, lengths_X: Tensor, step: StepSize) -> Tensor:
        return mean_over_tokens(lengths_X, step)

    def terms(self, tokens: RolloutTokens) -> TokenTerms:
        ratio_S = tokens.ratios_S
        slope_S = -ratio_S.clamp(max=self.highest) * tokens.advantages_S
        return TokenTerms(slope_S * tokens.logp_S, slope_S, ratio_S, ratio_S > self.highest)


LOSS = CispoLoss
