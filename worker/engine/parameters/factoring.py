"""How the factors, which the kernels compute with, follow from the trained values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.engine.parameters.flat import Extent, Factors, Kept


@dataclass(frozen=True)
class Factoring:
    """The map from trained values, [P], to factors, [F].

    `factors` is the map, or None if the factors are the trained values themselves. `extents` are the extents
    of the factors, by the names of the parameters that they follow from. `kept` are further tensors that are
    saved and restored with the trained values.
    """

    extents: Mapping[str, Extent]
    factors: Factors | None = None
    kept: Kept = field(default_factory=dict)


def is_lora_a(name: str) -> bool:
    """Return whether the parameter of that name is an A.

    The rows of an A belong to ranks; in a B the columns do.
    """
    return name.endswith("lora_A")
