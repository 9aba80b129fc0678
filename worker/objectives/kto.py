"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7 and 8).

The paper compares each reward with z = KL(p || p_base), which is estimated from answers to other prompts. As
in TRL, each row has one companion for the whole job: its own prompt with another row's answer. z is the mean
of log p − log p_base over the companions of a step, and at least 0. No gradient flows through z.

TRL takes the answer of the previous row in the file. Here it is the answer of the previous row in an order
that the seed draws, since files often hold several answers to one prompt one after another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from core.objectives.kto import Kto
from worker.objectives.objective import ObjectiveLoss, Scores
from worker.rows import Row


class KtoLoss(ObjectiveLoss):
    """KTO's loss: w (1 − σ(β (r − z))) for a desirable answer, w (1 − σ(β (z − r))) for an undesirable one.

    Here r = log p − log p_base. Each example has two rows: the answer, and its companion, which is measured
    but not learned.
    """

    needs_reference = True

    def __init__(self, options: Kto) -> None:
        self._options = options

    def loss(self, scores: Scores) -> tuple[Tensor, Mapping[str, Tensor]]:
        options = self._options
        ratios_P, companions_P = (scores.logp_X - scores.reference_X).view(-1, 2).unbind(1)
        desirable_P = scores.desirable_X.view(-1, 2)[:, 0]
        z = companions_P.mean().clamp(min=0).detach()
        signs_P = torch.where(desirable_P, 1.0, -1.0).double()
        weights_P = torch.where(desirable_P, options.desirable_weight, options.undesirable_weight).double()
        losses_P = weights_P * (1 - torch.sigmoid(options.beta * signs_P * (ratios_P - z)))
        chosen, rejected = (options.beta * ratios_P[which].mean() for which in (desirable_P, ~desirable_P))
        metrics = {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
        }
        return losses_P.mean(), {**metrics, "kl": z}

    def arrange(self, rendered: Sequence[Row], seed: int, max_length: int) -> list[Row]:
        """Return each row and its companion side by side."""
        return with_companions(rendered, seed, max_length)


def with_companions(rows: Sequence[Row], seed: int, max_length: int) -> list[Row]:
    """Return each row, followed by its companion: the row's prompt with the answer of another row.

    The other row is the previous row in an order that `seed` draws. A companion is cut to `max_length`
    tokens, but keeps at least the first token of the answer.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    before = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    return [
        part
        for number, row in enumerate(rows)
        for part in (row, _companion(row, rows[before[number]], max_length))
    ]


def _companion(row: Row, other: Row, max_length: int) -> Row:
    start, begin = int(row.learnt_L.argmax()), int(other.learnt_L.argmax())
    end = max(max_length, start + 1)
    tokens_L = np.concatenate([row.tokens_L[:start], other.tokens_L[begin:]])[:end]
    learnt_L = np.concatenate([row.learnt_L[:start], other.learnt_L[begin:]])[:end]
    return replace(row, tokens_L=tokens_L, learnt_L=learnt_L, desirable=False)


LOSS = KtoLoss
