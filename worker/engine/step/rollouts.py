"""The rollouts of a job's next step: sampled ones, or made-up ones for a rehearsal."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.jobs.spec import JobSpec
from core.objectives.sampling import SamplingOptions
from worker.engine.objectives.choose import policy_loss_of
from worker.engine.objectives.policy.policy_loss import PolicyLoss, StepSize
from worker.engine.step.policy_step import RolloutRows
from worker.rows.rollout import Rollout
from worker.rows.row import Row


class StepRollouts:
    """The rollouts of one job's next step, from when they are taken until the step is made."""

    def __init__(self, options: SamplingOptions, loss: PolicyLoss) -> None:
        self._options, self._loss = options, loss
        self.taken: Sequence[Rollout] | None = None

    @classmethod
    def of(cls, spec: JobSpec) -> "StepRollouts | None":
        """Return the rollouts of a job that samples its answers, and None for another job."""
        loss = policy_loss_of(spec)
        return cls(spec.objective, loss) if loss and isinstance(spec.objective, SamplingOptions) else None

    @property
    def learnt(self) -> list[Rollout]:
        """The rollouts that have been taken, and on which the loss has a gradient."""
        assert self.taken is not None, "the job needs rollouts"
        return [rollout for rollout in self.taken if rollout.is_learnt]

    def rows(self, adapter: str, dropout_seed: int | None, apart: bool) -> RolloutRows:
        """Return the rows of the step."""
        learnt, taken = self.learnt, self.taken or ()
        size = StepSize(len(taken), sum(rollout.supervised for rollout in taken))
        return RolloutRows(adapter, self._loss, learnt, size, dropout_seed, apart)

    def made_up(self, prompts: Sequence[Row]) -> "StepRollouts":
        """Return rollouts that are as long as those of the prompts may be. Their answers share no token."""
        found = StepRollouts(self._options, self._loss)
        numbers = range(self._options.num_generations)
        found.taken = [self._made_up(prompt, number) for prompt in prompts for number in numbers]
        return found

    def _made_up(self, prompt: Row, number: int) -> Rollout:
        answer = np.full(self._options.max_completion_tokens, number, dtype=np.int32)
        tokens_L = np.concatenate([prompt.tokens_L, answer])
        learnt_L = np.arange(len(tokens_L)) >= len(prompt.tokens_L)
        return Rollout(
            prompt.line,
            tokens_L,
            learnt_L,
            acts_from=prompt.acts_from,
            images=prompt.images,
            logprobs_L=np.zeros(len(tokens_L), dtype=np.float32),
            advantages_L=np.where(learnt_L, -1.0 if number % 2 else 1.0, 0.0),
        )

    def longest(self, prompts_ES: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tokens that the rollouts of each prompt have at most, from those of the prompts."""
        most_ES = prompts_ES + self._options.max_completion_tokens
        return np.repeat(most_ES, self._options.num_generations, axis=1)
