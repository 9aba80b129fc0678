"""Reinforcement fine-tuning (RFT)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from core.graders.schemas import Grader
from core.objectives.objective import Objective, ObjectiveOptions
from core.response_formats import PlainResponseFormat

EVALUATIONS_PER_EPOCH, LEAST_EVAL_INTERVAL = 4, 5
IF_TOO_HARD = (
    "take easier prompts, a grader that also rewards a part of the task, or train it by supervised "
    "fine-tuning first"
)
IF_TOO_EASY = "take harder prompts"
GENERATIONS = (2, 64)  # the fewest and the most answers to a prompt: one alone has no other to be better than


class Reinforcement(ObjectiveOptions):
    """Maximises the rewards that a grader gives to answers which the model samples itself.

    An optimizer step takes `batch_size` prompts. The model answers each of them `num_generations` times, and
    learns from how much better or worse an answer is than the others to its prompt. Each answer is learnt
    from once. Names besides OpenAI's are TRL's. Answers are sampled with temperature 1.
    """

    beside: ClassVar[frozenset[str]] = frozenset({"grader", "audit_grader", "response_format"})
    automatic: ClassVar[Mapping[str, str]] = {
        "num_generations": "8 times `compute_multiplier`, from 2 to 64",
        "max_completion_tokens": "256, but at most half of `training.max_length`",
        "eval_interval": "a quarter of an epoch, but at least 5 steps",
    }

    type: Literal["reinforcement"] = "reinforcement"
    grader: Grader
    """Gives each answer its reward. The templates read the answer as `sample`, and the row as `item`"""
    audit_grader: Grader | None = None
    """Judges the answers to the validation prompts beside `grader`. Nothing is learnt from it, so it shows
    whether a rising reward is what was meant"""
    response_format: PlainResponseFormat | None = None
    """The form of all answers, as in a chat: `{"type": "text"}`, `json_object` or `json_schema`"""
    loss_type: Literal["importance_sampling", "grpo", "dapo", "dr_grpo", "gspo", "cispo"] = (
        "importance_sampling"
    )
    """How the loss weighs the tokens of answers"""
    num_generations: Annotated[int, Field(ge=GENERATIONS[0], le=GENERATIONS[1])] = 8
    """Answers to each prompt of a step"""
    max_completion_tokens: Annotated[int, Field(ge=1, le=8192)] = 256
    """Most tokens of an answer; longer answers are truncated"""
    mask_truncated: bool = True
    """Whether nothing is learnt from truncated answers"""
    scale_rewards: bool = False
    """Whether advantages are divided by the standard deviation of the rewards of their prompt"""
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """How far below 1 the ratio of probabilities is clipped, if `loss_type` clips it"""
    epsilon_high: Annotated[float, Field(gt=0, le=100)] = 0.28
    """How far above 1 the ratio of probabilities is clipped, if `loss_type` clips it"""
    compute_multiplier: Annotated[float, Field(ge=0.00001, le=10)] = 1.0
    """Factor on the number of answers to a prompt, if `num_generations` is `auto`"""
    eval_interval: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps between two validations, which take all validation rows"""
    eval_samples: Annotated[int, Field(ge=1, le=64)] = 1
    """Answers to each prompt of a validation"""
    stop_on_audit: bool = False
    """End the job if its reward has risen since the first validation and `audit_grader`'s has fallen. The job
    then publishes a state in which the audit had not fallen"""
    reasoning_effort: Literal["default", "low", "medium", "high"] = "default"
    """Has no effect, because the models on offer have no reasoning effort"""

    @property
    def sampled_tokens(self) -> int:
        return self.max_completion_tokens

    @property
    def stops_early(self) -> bool:
        return self.stop_on_audit

    @property
    def graders(self) -> Sequence[Grader]:
        """The graders of a validation: `grader`, and `audit_grader` if there is one."""
        return [self.grader] if self.audit_grader is None else [self.grader, self.audit_grader]

    def sized(self, steps_per_epoch: int, max_length: int) -> Self:
        fewest, most = GENERATIONS
        by_rule = {
            "num_generations": min(most, max(fewest, round(8 * self.compute_multiplier))),
            "max_completion_tokens": min(self.max_completion_tokens, max_length // 2),
            "eval_interval": max(LEAST_EVAL_INTERVAL, steps_per_epoch // EVALUATIONS_PER_EPOCH),
        }
        return self.model_copy(
            update={name: value for name, value in by_rule.items() if name not in self.model_fields_set}
        )


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
