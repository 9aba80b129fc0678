"""An objective, and how a step of it becomes a weighted cross-entropy.

Every loss here is a function of log p(y|x), the sum over an answer's tokens, of each row. By the chain rule
its gradient is Σ over rows of ∂loss/∂log p(row) · ∇log p(row): that of cross-entropies with these weights,
negated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """What the model, and the base alone, make of a step's rows. All in fp64 on the CPU.

    `logp_X` is Σ log p in nats over the answer's tokens, `tokens_X` their number, `reference_X` the base's Σ
    (NaN where the objective asks for none), and `desirable_X` whether the answer is to become likelier.
    """

    logp_X: Tensor
    tokens_X: Tensor
    reference_X: Tensor
    desirable_X: Tensor


class Objective(Protocol):
    rows: int
    """Of one example, in their order in a step."""
    needs_reference: bool

    def loss(self, scores: Scores) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The mean over the examples, which depends on `logp_X` by autograd, and what else to report of
        them."""


@dataclass(frozen=True)
class Outcome:
    """`slope_X` is ∂loss/∂logp_X."""

    loss: float
    slope_X: Tensor
    metrics: Mapping[str, float]


@torch.enable_grad()
def outcome(objective: Objective, scores: Scores) -> Outcome:
    logp_X = scores.logp_X.detach().requires_grad_()
    loss, metrics = objective.loss(replace(scores, logp_X=logp_X))
    (slope_X,) = torch.autograd.grad(loss, logp_X)
    return Outcome(loss.item(), slope_X, {name: value.item() for name, value in metrics.items()})


def preference_metrics(chosen_P: Tensor, rejected_P: Tensor) -> dict[str, Tensor]:
    """Means of the rewards of pairs, in TRL's names."""
    return {
        "rewards/chosen": chosen_P.mean(),
        "rewards/rejected": rejected_P.mean(),
        "rewards/accuracies": (chosen_P > rejected_P).double().mean(),
        "rewards/margins": (chosen_P - rejected_P).mean(),
    }
