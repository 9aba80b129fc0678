"""What a checkpoint keeps of a job's reports, so that a resumed job reports as if it had never stopped."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TrainingRecord:
    """The last step's metrics, and notes on all steps before it. Both are empty before the first step.

    The notes are values that JSON can hold: the best loss, the means that warnings follow from, and the
    state of a search.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
