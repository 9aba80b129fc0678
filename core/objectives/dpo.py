"""Direct preference optimisation."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from core.objectives.objective import Objective, ObjectiveOptions


class Dpo(ObjectiveOptions):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290)."""

    needs_reference: ClassVar[bool] = True

    type: Literal["dpo"] = "dpo"
    beta: Annotated[float, Field(gt=0, le=2)] = 0.1
    """How strongly the model is kept close to the base model"""


OBJECTIVE = Objective(
    options=Dpo,
    title="DPO",
    description="Learns to prefer one answer to the other, and stays close to the base model.",
    rows="two answers to a prompt",
    dataset="preference",
)
