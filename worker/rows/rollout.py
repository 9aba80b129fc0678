"""A rollout: a prompt with an answer that was sampled from the policy, and how good its tokens are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.rows.row import Row


@dataclass(frozen=True, kw_only=True)
class Rollout(Row):
    """A row whose learnt tokens were sampled, at temperature 1. `line` is the line of its prompt.

    `logprobs_L[i]` is log p of token i in nats, as the sampler found it, and `advantages_L[i]` says how much
    more likely the token should become. Both are 0 if the token is not learnt. A reward gives all tokens of
    an answer the same advantage, and a teacher gives each token its own. An answer that is masked, because it
    was truncated for example, is a rollout without learnt tokens.
    """

    logprobs_L: NDArray[np.float32]
    advantages_L: NDArray[np.float64]

    @property
    def is_learnt(self) -> bool:
        """Whether a policy loss has a gradient on this rollout."""
        return bool(self.advantages_L.any())
