"""Supervised fine-tuning (SFT)."""

from typing import Literal

from core.objectives.objective import Objective, ObjectiveOptions


class Supervised(ObjectiveOptions):
    """Minimises the cross-entropy of the assistant's messages."""

    type: Literal["supervised"] = "supervised"


OBJECTIVE = Objective(
    options=Supervised,
    title="Supervised",
    description="Learns to answer like the assistant in the rows.",
    rows="conversations",
    dataset="chat",
    epochs=(3, 10),
    learning_rate_multiplier=1.0,
)
