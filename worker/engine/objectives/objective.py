"""The loss of an objective, and how one of its steps becomes a weighted cross-entropy.

Every loss here is a function of log p(y|x) of each row, which is the sum over the tokens of the answer. By
the chain rule, the gradient of the loss is Σ over rows of ∂loss/∂log p(row) · ∇log p(row). So it is the
negated gradient of cross-entropies with these weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.objectives.objective import ObjectiveOptions
from core.objectives.registry import OBJECTIVES


@dataclass(frozen=True)
class Scores:
    """The scores that the model and the base model alone give the rows of a step, in fp64 on the CPU.

    `logp_X` is Σ log p in nats over the answer's tokens, and `tokens_X` is their number. `reference_X` is the
    same Σ of the base model, or NaN where the objective needs no reference. `desirable_X` says whether the
    answer should become more likely.
    """

    logp_X: Tensor
    tokens_X: Tensor
    reference_X: Tensor
    desirable_X: Tensor


class ObjectiveLoss(ABC):
    """The loss of an objective, made from the objective's options in `core/objectives`."""

    examples_apart: bool = True
    """Whether the loss is a mean over the examples in which no example depends on another one"""

    def __init__(self, options: ObjectiveOptions) -> None:
        self.rows = OBJECTIVES[options.type].rows_per_example
        """The number of rows of one example, in their order in a step"""
        self.needs_reference = options.needs_reference

    @abstractmethod
    def loss(self, scores: Scores) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the mean loss of the examples, and further metrics to report.

        The loss depends on `logp_X` by autograd.
        """


@dataclass(frozen=True)
class Outcome:
    """The loss of a step and its metrics. `slope_X` is ∂loss/∂logp_X."""

    loss: float
    slope_X: Tensor
    metrics: Mapping[str, float]


@torch.enable_grad()
def outcome(objective: ObjectiveLoss, scores: Scores) -> Outcome:
    """Return the loss of a step, its slope for each row and its metrics."""
    logp_X = scores.logp_X.detach().requires_grad_()
    loss, metrics = objective.loss(replace(scores, logp_X=logp_X))
    (slope_X,) = torch.autograd.grad(loss, logp_X)
    return Outcome(loss.item(), slope_X, {name: value.item() for name, value in metrics.items()})


def preference_metrics(chosen_P: Tensor, rejected_P: Tensor) -> dict[str, Tensor]:
    """Return means of the rewards of pairs, under TRL's names."""
    return {
        "rewards/chosen": chosen_P.mean(),
        "rewards/rejected": rejected_P.mean(),
        "rewards/accuracies": (chosen_P > rejected_P).double().mean(),
        "rewards/margins": (chosen_P - rejected_P).mean(),
    }
