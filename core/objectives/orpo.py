"""Odds ratio preference optimisation."""

from typing import Annotated, Literal

from pydantic import Field

from core.objectives.objective import Objective, ObjectiveOptions


class Orpo(ObjectiveOptions):
    """Odds ratio preference optimisation (Hong et al. 2024, arXiv:2403.07691). `beta` is the paper's λ."""

    type: Literal["orpo"] = "orpo"
    beta: Annotated[float, Field(gt=0, le=100)] = 0.1
    """Weight of the odds ratio beside the cross-entropy"""


OBJECTIVE = Objective(
    options=Orpo,
    title="ORPO",
    description="Learns the preferred answer, and learns to prefer it. Needs no reference model.",
    rows="two answers to a prompt",
    dataset="preference",
)
