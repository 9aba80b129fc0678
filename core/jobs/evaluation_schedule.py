"""When the validation rows of a job are evaluated, and on how many of them."""

from dataclasses import dataclass
from math import lcm

from core.jobs.spec import TrainingOptions

EVALUATIONS_PER_EPOCH = 4
MIN_EVAL_STEPS = 10
EVAL_EXAMPLES = 16  # the examples in an evaluation on a part of the validation rows


def eval_steps(training: TrainingOptions, steps_per_epoch: int) -> int:
    """Return the optimizer steps between two evaluations."""
    return training.eval_steps or max(MIN_EVAL_STEPS, steps_per_epoch // EVALUATIONS_PER_EPOCH)


@dataclass(frozen=True)
class Schedule:
    """When a job is evaluated: on all rows at the ends of epochs, and on a few every `eval_steps`.

    With `whole_always`, all evaluations take all rows. The tokens are those of the rows; 0 without any.
    """

    last_step: int
    steps_per_epoch: int
    eval_steps: int
    whole_always: bool
    whole_tokens: int
    part_tokens: int

    def left(self, step: int) -> tuple[int, int]:
        """Return how many evaluations on all rows, and how many on a few, are due after `step`."""
        if not self.whole_tokens:
            return 0, 0
        both = self._between(step, lcm(self.eval_steps, self.steps_per_epoch))
        parts = self._between(step, self.eval_steps) - both
        wholes = self._between(step, self.steps_per_epoch)
        return (wholes + parts, 0) if self.whole_always else (wholes, parts)

    def _between(self, step: int, every: int) -> int:
        return self.last_step // every - step // every
