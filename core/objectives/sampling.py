"""The options of objectives whose rows are prompts: the model samples the answers from which it learns."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from core.objectives.objective import ObjectiveOptions
from core.response_formats import PlainResponseFormat

EVALUATIONS_PER_EPOCH, LEAST_EVAL_INTERVAL = 4, 5
MOST_GENERATIONS = 64


class SamplingOptions(ObjectiveOptions):
    """The options that all objectives have whose answers the model samples itself, with temperature 1.

    An optimizer step takes `batch_size` prompts, and each answer is learnt from once. Names that
    OpenAI has for reinforcement are OpenAI's; the others are TRL's.
    """

    beside: ClassVar[frozenset[str]] = frozenset({"response_format"})
    automatic: ClassVar[Mapping[str, str]] = {
        "max_completion_tokens": "256, but at most half of `training.max_length`",
        "eval_interval": "a quarter of an epoch, but at least 5 steps",
    }

    response_format: PlainResponseFormat | None = None
    """The form of all answers, as in a chat: `{"type": "text"}`, `json_object` or `json_schema`"""
    loss_type: Literal["importance_sampling", "grpo", "dapo", "dr_grpo", "gspo", "cispo"] = (
        "importance_sampling"
    )
    """How the loss weighs the tokens of answers"""
    num_generations: Annotated[int, Field(ge=1, le=MOST_GENERATIONS)] = 4
    """Answers to each prompt of a step"""
    max_completion_tokens: Annotated[int, Field(ge=1, le=8192)] = 256
    """Most tokens of an answer; longer answers are truncated"""
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """How far below 1 the ratio of probabilities is clipped, if `loss_type` clips it"""
    epsilon_high: Annotated[float, Field(gt=0, le=100)] = 0.28
    """How far above 1 the ratio of probabilities is clipped, if `loss_type` clips it"""
    eval_interval: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps between two validations, which take all validation rows"""
    eval_samples: Annotated[int, Field(ge=1, le=64)] = 1
    """Answers to each prompt of a validation"""

    @property
    def sampled_tokens(self) -> int:
        return self.max_completion_tokens

    def sized(self, steps_per_epoch: int, max_length: int) -> Self:
        by_rule = self._by_rule(steps_per_epoch, max_length)
        return self.model_copy(
            update={name: value for name, value in by_rule.items() if name not in self.model_fields_set}
        )

    def _by_rule(self, steps_per_epoch: int, max_length: int) -> dict[str, Any]:
        """Return the values by a rule, as `sized` has them."""
        return {
            "max_completion_tokens": min(self.max_completion_tokens, max_length // 2),
            "eval_interval": max(LEAST_EVAL_INTERVAL, steps_per_epoch // EVALUATIONS_PER_EPOCH),
        }
