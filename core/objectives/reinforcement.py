"""Reinforcement fine-tuning (RFT)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from core.endpoints.tools import EndpointTool
from core.graders.schemas import Grader
from core.objectives.objective import Objective
from core.objectives.sampling import MOST_GENERATIONS, SamplingOptions

METHOD = "method.reinforcement"
GRADER, HYPERPARAMETERS = f"{METHOD}.grader", f"{METHOD}.hyperparameters"
TOOLS = f"{METHOD}.tools"
MOST_TOOLS = 64
IF_TOO_HARD = (
    "take easier prompts, a grader that also rewards a part of the task, or train it by supervised "
    "fine-tuning first"
)
IF_TOO_EASY = "take harder prompts"
FEWEST_GENERATIONS = 2  # one answer alone has no other to be better than


class Reinforcement(SamplingOptions):
    """Maximises the rewards that a grader gives to answers which the model samples itself.

    The model answers each prompt of a step `num_generations` times, and learns from how much better or worse
    an answer is than the others to its prompt.
    """

    beside: ClassVar[frozenset[str]] = frozenset(
        {"grader", "audit_grader", "tools", "max_episode_steps", "response_format"}
    )
    automatic: ClassVar[Mapping[str, str]] = {
        **SamplingOptions.automatic,
        "num_generations": "8 times `compute_multiplier`, from 2 to 64",
    }

    type: Literal["reinforcement"] = "reinforcement"
    grader: Grader
    """Gives each answer its reward. The templates read the answer as `sample`, and the row as `item`"""
    audit_grader: Grader | None = None
    """Judges the answers to the validation prompts beside `grader`. Nothing is learnt from it, so it shows
    whether a rising reward is what was meant"""
    tools: Annotated[list[EndpointTool], Field(max_length=MOST_TOOLS)] | None = None
    """The tools whose calls are answered by a URL, by the names that rows declare. A call of any other tool
    ends the answer"""
    max_episode_steps: Annotated[int, Field(ge=1, le=100)] = 10
    """Most turns of the model in an answer: one, and one more after the outputs of the tools that it calls"""
    num_generations: Annotated[int, Field(ge=FEWEST_GENERATIONS, le=MOST_GENERATIONS)] = 8
    """Answers to each prompt of a step"""
    mask_truncated: bool = True
    """Whether nothing is learnt from truncated answers"""
    scale_rewards: bool = False
    """Whether advantages are divided by the standard deviation of the rewards of their prompt"""
    compute_multiplier: Annotated[float, Field(ge=0.00001, le=10)] = 1.0
    """Factor on the number of answers to a prompt, if `num_generations` is `auto`"""
    stop_on_audit: bool = False
    """End the job if its reward has risen since the first validation and `audit_grader`'s has fallen. The job
    then publishes a state in which the audit had not fallen"""
    reasoning_effort: Literal["default", "low", "medium", "high"] = "default"
    """Has no effect, because the models on offer have no reasoning effort"""

    @property
    def stops_early(self) -> bool:
        return self.stop_on_audit

    @property
    def most_of_an_answer(self) -> str:
        """At what answers are cut off, in words."""
        turns = f" or {self.max_episode_steps} turns" if self.tools else ""
        return f"{self.max_completion_tokens} tokens{turns}"

    @property
    def limits_of_an_answer(self) -> str:
        """The options that say so."""
        return "max_completion_tokens" + (" or max_episode_steps" if self.tools else "")

    @property
    def graders(self) -> Sequence[Grader]:
        """The graders of a validation: `grader`, and `audit_grader` if there is one."""
        return [self.grader] if self.audit_grader is None else [self.grader, self.audit_grader]

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
