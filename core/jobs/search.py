"""A job that trains several candidates, of which one is left: what was asked for, and what they are."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from core.methods.registry import AdapterOptions
from core.options import Options

AUTO_RANKS = (4, 8, 16, 32)
MAX_CANDIDATES = 16

ADAPTER = "adapter."
LEARNING_RATE = "training.learning_rate"


class CandidateSpec(Options):
    """What one candidate has of its own; all else is the job's, above all the rows and their order."""

    adapter: AdapterOptions
    learning_rate: Annotated[float, Field(gt=0, le=1)]


class Search(Options):
    """`parameters` are the values that were asked for, by their place in the request. With `auto_rank`, the
    candidates stand in the order of their ranks. `winner` is one's number, once the job has succeeded."""

    kind: Literal["auto_rank", "sweep"]
    parameters: dict[str, list[Any]]
    candidates: Annotated[list[CandidateSpec], Field(min_length=2, max_length=MAX_CANDIDATES)]
    winner: int | None = None

    def told(self, number: int) -> str:
        """What the candidate of that number has of what was asked for, as words."""
        values = values_of(self.model_dump(), number)
        return ", ".join(f"{place} {value}" for place, value in values.items())


def values_of(search: Mapping[str, Any], number: int) -> dict[str, Any]:
    """What a candidate of a stored search has of what was asked for, by its place in the request."""
    own = search["candidates"][number]
    return {
        place: own["adapter"][place.removeprefix(ADAPTER)]
        if place.startswith(ADAPTER)
        else own["learning_rate"]
        for place in search["parameters"]
    }
