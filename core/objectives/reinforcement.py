"""Reinforcement fine-tuning (RFT)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from core.graders.schemas import Grader
from core.objectives.objective import Objective, ObjectiveOptions


class Reinforcement(ObjectiveOptions):
    """Maximises the rewards that a grader gives to answers which the model samples itself."""

    type: Literal["reinforcement"] = "reinforcement"
    grader: Grader
    response_format: dict[str, Any] | None = None
    loss_type: Literal["importance_sampling", "grpo", "dapo", "dr_grpo", "gspo", "cispo"] = (
        "importance_sampling"
    )
    num_generations: Annotated[int, Field(ge=2, le=64)] = 8
    max_completion_tokens: Annotated[int, Field(ge=1, le=8192)] = 256
    mask_truncated: bool = True
    scale_rewards: bool = False
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.2
    epsilon_high: Annotated[float, Field(gt=0)] = 0.28
    compute_multiplier: float = 1.0
    eval_interval: int | None = None
    eval_samples: int = 1
    reasoning_effort: Literal["default", "low", "medium", "high"] = "default"


OBJECTIVE = Objective(
    options=Reinforcement,
    title="Reinforcement",
    description="Learns from the rewards that a grader gives to the model's own answers.",
    rows="prompts",
    dataset="prompt",  # type: ignore[arg-type]
)
