"""What a resumed job remembers of the steps before its checkpoint."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Past:
    """What a job goes on from beside its adapters: the last step's metrics, and notes on all before it.

    Both are empty before the first step.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
