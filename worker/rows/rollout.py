"""A rollout: a prompt with an answer that was sampled from the policy, and how good the answer is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.rows.row import Row


@dataclass(frozen=True, kw_only=True)
class Rollout(Row):
    """A row whose learnt tokens were sampled, at temperature 1. `line` is the line of its prompt.

    `logprobs_L[i]` is log p of token i in nats, as the sampler found it, or 0 if the token is not learnt. The
    `advantage` says how much better the answer is than other answers to the prompt. An answer that is masked,
    because it was truncated for example, is a rollout without learnt tokens.
    """

    logprobs_L: NDArray[np.float32]
    advantage: float

    @property
    def is_learnt(self) -> bool:
        """Whether a policy loss has a gradient on this rollout."""
        return self.advantage != 0 and self.supervised > 0
