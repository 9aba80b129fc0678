"""Reinforcement fine-tuning (RFT)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from core.graders.schemas import Grader
from core.objectives.objective import Objective
from core.objectives.sampling import MOST_GENERATIONS, SamplingOptions

FEWEST_GENERATIONS = 2  # one answer alone has no other to be better than


class Reinforcement(SamplingOptions):
    """Maximises the rewards that a grader gives to answers which the model samples itself.

    The model answers each prompt of a step `num_generations` times, and learns from how much better or worse
    an answer is than the others to its prompt.
    """

    beside: ClassVar[frozenset[str]] = frozenset({"grader", "response_format"})
    automatic: ClassVar[Mapping[str, str]] = {
        **SamplingOptions.automatic,
        "num_generations": "8 times `compute_multiplier`, from 2 to 64",
    }

    type: Literal["reinforcement"] = "reinforcement"
    grader: Grader
    """Gives each answer its reward. The templates read the answer as `sample`, and the row as `item`"""
    num_generations: Annotated[int, Field(ge=FEWEST_GENERATIONS, le=MOST_GENERATIONS)] = 8
    """Answers to each prompt of a step"""
    mask_truncated: bool = True
    """Whether nothing is learnt from truncated answers"""
    scale_rewards: bool = False
    """Whether advantages are divided by the standard deviation of the rewards of their prompt"""
    compute_multiplier: Annotated[float, Field(ge=0.00001, le=10)] = 1.0
    """Factor on the number of answers to a prompt, if `num_generations` is `auto`"""
    reasoning_effort: Literal["default", "low", "medium", "high"] = "default"
    """Has no effect, because the models on offer have no reasoning effort"""

    def _by_rule(self, steps_per_epoch: int, max_length: int) -> dict[str, Any]:
        wanted = max(FEWEST_GENERATIONS, round(8 * self.compute_multiplier))
        found = super()._by_rule(steps_per_epoch, max_length)
        return {**found, "num_generations": min(MOST_GENERATIONS, wanted)}


# A step has `batch_size` times `num_generations` answers, so batches are smaller than elsewhere. The rate is
# a fifth of that of supervised jobs, for LoRA 4e-5: tinker-cookbook's `rl_loop` trains LoRA with the default
# loss at this rate. It lies between TRL's 1e-5 for LoRA, ten times its rate for all weights, and the rate of
# supervised jobs, at which a policy that was good can become useless in a few steps.
OBJECTIVE = Objective(
    options=Reinforcement,
    title="Reinforcement",
    description="Learns from the rewards that a grader gives to the model's own answers.",
    rows="a prompt without an answer",
    dataset="prompt",
    batch_sizes=(4, 16),
    steps_per_epoch=20,
    epochs=(1, 10),
    least_rows=0,
    least_steps=30,
    learning_rate_multiplier=0.2,
)
