"""How what the kernels compute with follows from what is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.engine.parameters.flat import Factors, Kept, Place


@dataclass(frozen=True)
class Factoring:
    """The map from trained values [P] to factors [F], None where they are the same, and what goes with it.

    `places` are the factors', by the names of the parameters that they follow from. `kept` is saved and
    restored with the trained values.
    """

    places: Mapping[str, Place]
    factors: Factors | None = None
    kept: Kept = field(default_factory=dict)


def is_a(name: str) -> bool:
    """Whether a parameter of that name is an A, by rows of ranks; of a B, the columns are."""
    return name.endswith("lora_A")
