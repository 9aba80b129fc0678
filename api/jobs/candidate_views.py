"""A job's candidates as a client reads them: what each has of its own, how far it came, and why."""

from collections.abc import Sequence
from math import inf
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.jobs.views import Adapter
from core.jobs.search import candidate_values
from core.tables import Candidate, Job


class RungObject(BaseModel):
    """One comparison of all candidates that were left, on all validation rows.

    `behind` is by how much the loss was above the lowest, and `noise` the standard error of that, from the
    differences row by row (0 where it is not known). Null stands for what was not finite.
    """

    step: int
    valid_loss: float | None
    behind: float | None
    noise: float | None
    kept: bool = Field(description="Whether the candidate was to train on")
    left: int = Field(description="How many were to")


class CandidateObject(BaseModel):
    """What was saved is in comparison with a run to the job's end; null until that is known."""

    object: Literal["fine_tuning.job.candidate"] = "fine_tuning.job.candidate"
    number: int
    values: dict[str, Any] = Field(description="Of what was asked for, by its place in the request")
    adapter: Adapter
    learning_rate: float
    status: Literal["waiting", "training", "dropped", "failed", "won"]
    step: int
    trained_tokens: int
    saved_steps: int | None
    saved_tokens: int | None
    rungs: list[RungObject]
    reason: str | None = Field(description="Why it won, or trains no more")


class CostObject(BaseModel):
    """Tokens that all candidates have trained, those of the winner alone, and the ratio of the two."""

    trained_tokens: int
    winner_tokens: int
    runs: float


class CandidatesObject(BaseModel):
    object: Literal["list"] = "list"
    data: list[CandidateObject]
    has_more: Literal[False] = False
    winner: int | None = Field(description="The number of the one that was published")
    cost: CostObject | None = Field(description="Null until there is a winner")

    @classmethod
    def of(cls, job: Job, rows: Sequence[Candidate]) -> "CandidatesObject":
        search = job.spec.get("search")
        if search is None:
            return cls(data=[], winner=None, cost=None)
        found = {row.number: row for row in rows}
        winner = found.get(search["winner"]) if search["winner"] is not None else None
        shown = [
            _candidate(search, number, found.get(number) or _waiting(number), winner)
            for number in range(len(search["candidates"]))
        ]
        return cls(data=sorted(shown, key=_rank), winner=search["winner"], cost=_cost(shown, winner))


def _candidate(
    search: dict[str, Any], number: int, row: Candidate, winner: Candidate | None
) -> CandidateObject:
    own = search["candidates"][number]
    return CandidateObject(
        number=number,
        values=candidate_values(search, number),
        adapter=Adapter(**own["adapter"]),
        learning_rate=own["learning_rate"],
        status=row.status,
        step=row.step,
        trained_tokens=row.trained_tokens,
        saved_steps=winner.step - row.step if winner else None,
        saved_tokens=winner.trained_tokens - row.trained_tokens if winner else None,
        rungs=[RungObject(**rung) for rung in row.rungs],
        reason=row.reason,
    )


def _waiting(number: int) -> Candidate:
    return Candidate(number=number, status="waiting", step=0, trained_tokens=0, rungs=[], reason=None)


def _rank(candidate: CandidateObject) -> tuple[bool, bool, int, float, int]:
    """The winner, then those that train, then by how far they came and how they did at last."""
    last = candidate.rungs[-1] if candidate.rungs else None
    loss = last.valid_loss if last and last.valid_loss is not None else inf
    ended = candidate.status in ("dropped", "failed")
    return candidate.status != "won", ended, -candidate.step, loss, candidate.number


def _cost(shown: Sequence[CandidateObject], winner: Candidate | None) -> CostObject | None:
    if winner is None:
        return None
    total = sum(candidate.trained_tokens for candidate in shown)
    own = winner.trained_tokens
    return CostObject(trained_tokens=total, winner_tokens=own, runs=round(total / own, 3))
