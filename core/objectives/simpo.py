"""Simple preference optimisation."""

from typing import Annotated, Literal

from pydantic import Field

from core.objectives.objective import Objective, ObjectiveOptions


class Simpo(ObjectiveOptions):
    """Simple preference optimisation (Meng et al. 2024, arXiv:2405.14734)."""

    type: Literal["simpo"] = "simpo"
    beta: Annotated[float, Field(gt=0, le=100)] = 2.0
    """Scale of the rewards"""
    gamma: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Margin: how much higher the reward of the preferred answer should be"""


OBJECTIVE = Objective(
    options=Simpo,
    title="SimPO",
    description="Learns to prefer one answer to the other by mean log-probability. Needs no reference model.",
    rows="two answers to a prompt",
    dataset="preference",
)
