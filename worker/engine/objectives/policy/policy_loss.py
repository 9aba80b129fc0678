"""The loss of a policy on answers that were sampled from it, and how it becomes a weighted cross-entropy.

Every loss here is a weighted sum over the learnt tokens of a step's rollouts:

    L = Σ w(rollout) · ℓ(token)

ℓ follows from log p of the token, from the ratio p / p_sampler, and from the advantage of the token. By the
chain rule, the gradient of L is Σ w · ∂ℓ/∂log p · ∇log p over the tokens. So it is the negated gradient of a
cross-entropy in which each token has the weight w · ∂ℓ/∂log p. The weight w makes L a mean, and follows from
all rollouts of the step, also from those without an advantage, as in TRL.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from core.objectives.sampling import SamplingOptions


@dataclass(frozen=True)
class StepSize:
    """How many rollouts a step has, and how many learnt tokens all of them have together."""

    rollouts: int
    tokens: int


@dataclass(frozen=True)
class RolloutTokens:
    """Some learnt tokens of a step's rollouts: those of a lane's part of a micro-batch, or all of them.

    `logp_S` is log p of each token in nats, `sampled_S` the same of the sampler, `advantages_S` the token's
    advantage, and `rows_S` the number of its rollout. Of each rollout, there are the number of learnt tokens,
    and `log_ratio_X`: Σ (log p − log p_sampler) over all of its learnt tokens. `log_ratio_X` is None if the
    loss does not need it.
    """

    logp_S: Tensor
    sampled_S: Tensor
    advantages_S: Tensor
    rows_S: Tensor
    lengths_X: Tensor
    log_ratio_X: Tensor | None = None

    @property
    def ratios_S(self) -> Tensor:  # noqa: N802 - axes
        """p / p_sampler of each token."""
        return (self.logp_S - self.sampled_S).exp()


@dataclass(frozen=True)
class TokenTerms:
    """The parts of a loss, by token.

    `loss_S` is ℓ and `slope_S` is ∂ℓ/∂log p, both without the weight w. `ratio_S` is the ratio that the loss
    takes, and `clipped_S` says whether the loss has limited it.
    """

    loss_S: Tensor
    slope_S: Tensor
    ratio_S: Tensor
    clipped_S: Tensor


class PolicyLoss(ABC):
    """A loss, made from the options of a job that samples its answers."""

    needs_row_sums: bool = False
    """Whether the loss of a token depends on the other tokens of its rollout"""

    def __init__(self, options: SamplingOptions) -> None:
        self.max_completion_tokens = options.max_completion_tokens
        self.lowest, self.highest = 1 - options.epsilon, 1 + options.epsilon_high
        """The bounds of the ratio"""

    @abstractmethod
    def weights(self, lengths_X: Tensor, step: StepSize) -> Tensor:
        """Return w of each rollout, [X], in fp64. `lengths_X` are their learnt tokens."""

    @abstractmethod
    def terms(self, tokens: RolloutTokens) -> TokenTerms:
        """Return the parts of the loss."""


def mean_over_rollouts(lengths_X: Tensor, step: StepSize) -> Tensor:
    """Return the weights of a mean over the tokens of each rollout, and then over the rollouts."""
    return 1 / (lengths_X.double() * step.rollouts)


def mean_over_tokens(lengths_X: Tensor, step: StepSize) -> Tensor:
    """Return the weights of a mean over all learnt tokens of the step."""
    return torch.full_like(lengths_X, 1 / max(1, step.tokens), dtype=torch.float64)


def constant_length(lengths_X: Tensor, step: StepSize, length: int) -> Tensor:
    """Return the weights of a sum over tokens, divided by `length`, and of a mean over the rollouts."""
    return torch.full_like(lengths_X, 1 / (step.rollouts * length), dtype=torch.float64)
