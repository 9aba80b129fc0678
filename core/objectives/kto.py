"""Kahneman-Tversky optimisation."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from core.objectives.objective import Objective, ObjectiveOptions

Weight = Annotated[float, Field(gt=0, le=100)]


class Kto(ObjectiveOptions):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306)."""

    needs_reference: ClassVar[bool] = True

    type: Literal["kto"] = "kto"
    beta: Annotated[float, Field(gt=0, le=100)] = 0.1
    """How strongly the model is kept close to the base model"""
    desirable_weight: Weight = 1.0
    """Weight of the desirable rows' loss"""
    undesirable_weight: Weight = 1.0
    """Weight of the undesirable rows' loss"""


OBJECTIVE = Objective(
    options=Kto,
    title="KTO",
    description="Learns from single answers that are marked as desirable or undesirable.",
    rows="an answer, and whether it is desirable",
    dataset="labelled",
    has_companions=True,
)
