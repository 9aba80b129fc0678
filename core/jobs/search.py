"""A job that trains several candidates and keeps one: the values to try, and the candidates."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from core.methods.registry import AdapterOptions
from core.options import Options

AUTO_RANKS = (4, 8, 16, 32)
MAX_CANDIDATES = 16

ADAPTER = "adapter."
RANK = f"{ADAPTER}r"
AUTO = "auto"
LEARNING_RATE = "training.learning_rate"

SearchKind = Literal["auto_rank", "sweep"]


class CandidateSpec(Options):
    """The options of one candidate. It shares everything else with its job, above all the rows."""

    adapter: AdapterOptions
    learning_rate: Annotated[float, Field(gt=0, le=1)]


class CandidateSearch(Options):
    """The part of a job's specification that lists its candidates.

    `parameters` holds the values to try, by their path in the request, such as `adapter.r`. The candidates
    of `auto_rank` are in the order of their ranks. `winner` is the number of the candidate that is kept. It
    is set once the job has succeeded.
    """

    kind: SearchKind
    parameters: dict[str, list[Any]]
    candidates: Annotated[list[CandidateSpec], Field(min_length=2, max_length=MAX_CANDIDATES)]
    winner: int | None = None

    def describe(self, number: int) -> str:
        """Return the values of the candidate with this number, in words."""
        values = candidate_values(self.model_dump(), number)
        return ", ".join(f"{path} {value}" for path, value in values.items())


def candidate_values(search: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return a candidate's values for the parameters of a stored search, by their path in the request."""
    own = search["candidates"][number]
    return {
        path: own["adapter"][path.removeprefix(ADAPTER)] if path.startswith(ADAPTER) else own["learning_rate"]
        for path in search["parameters"]
    }
