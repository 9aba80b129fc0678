"""On-policy distillation (GKD: Agarwal et al. 2023, arXiv:2306.13649; Lu et al. 2025)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from core.objectives.objective import Objective
from core.objectives.sampling import SamplingOptions

TEACHER = "method.distillation.teacher"


class Distillation(SamplingOptions):
    """Minimises the reverse KL divergence from a teacher, on answers which the model samples itself.

    The teacher says how likely it finds each token of an answer. The advantage of a token is the teacher's
    log-probability minus that of the model. Each token is judged alone, so a truncated answer is learnt from
    like any other.
    """

    beside: ClassVar[frozenset[str]] = frozenset({"teacher", "response_format"})

    type: Literal["distillation"] = "distillation"
    teacher: Annotated[str, Field(min_length=1)]
    """A model with which the project may chat: a base model, a fine-tuned model, a checkpoint, an adapter or
    an alias. Its tokenizer and chat template must be those of `model`"""


# The other numbers are those of reinforcement. The rate is half of that of supervised jobs, for LoRA 1e-4:
# tinker-cookbook distils with LoRA at this rate. Each token has an advantage of its own, so a step says more
# than with rewards.
OBJECTIVE = Objective(
    options=Distillation,
    title="Distillation",
    description="Learns from how likely a teacher finds each token of the model's own answers.",
    rows="a prompt without an answer",
    dataset="prompt",
    batch_sizes=(4, 16),
    steps_per_epoch=20,
    epochs=(1, 10),
    least_rows=0,
    least_steps=30,
    learning_rate_multiplier=0.5,
)
