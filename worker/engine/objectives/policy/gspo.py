"""Group sequence policy optimisation (Zheng et al. 2025, arXiv:2507.18071, eq. 5 and 7)."""

from torch import Tensor

from worker.engine.objectives.policy.clipped_loss import ClippedLoss
from worker.engine.objectives.policy.policy_loss import RolloutTokens, StepSize, mean_over_rollouts


class GspoLoss(ClippedLoss):
    """GSPO's loss: L = −1/G Σ_i min(s_i A_i, clip(s_i, 1 − ε, 1 + ε_high) A_i).

    s_i = (p(y_i) / p_sampler(y_i))^(1/|y_i|) is the geometric mean of the ratios of an answer's tokens. Here
    it is the ratio of each of these tokens. Then the mean over an answer's tokens is the loss of the answer,
    and each token has the slope −s_i A_i / (G |y_i|) of the formula. If the tokens differ in their
    advantages, this is GSPO-token (section 4.3), whose slope has the token's own. G are all rollouts of the
    step.
    """

    needs_row_sums = True

    def ratios(self, tokens: RolloutTokens) -> Tensor:
        assert tokens.log_ratio_X is not None
        ratios_X = (tokens.log_ratio_X / tokens.lengths_X).exp()
        return ratios_X[tokens.rows_S].to(tokens.logp_S.dtype)

    def weights(self, lengths_X: Tensor, step: StepSize) -> Tensor:
        return mean_over_rollouts(lengths_X, step)


LOSS = GspoLoss
