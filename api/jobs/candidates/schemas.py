"""The candidates of a job as a client reads them: their options, their progress, and why they ended."""

from collections.abc import Sequence
from math import inf
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from api.jobs.schemas import Adapter
from core.jobs.search import candidate_values
from core.tables import Candidate, Job


class RungObject(BaseModel):
    """A comparison, at one step and on the whole validation file, of the candidates that were still training.

    `behind` is the difference between this candidate's loss and the lowest loss. `noise` is the standard
    error of `behind`, computed from the differences in each row; `noise` is 0 if it is unknown. A value is
    null if it was infinite or not a number.
    """

    step: Annotated[int, Field(description="The step after which the candidates were compared")]
    valid_loss: Annotated[float | None, Field(description="This candidate's loss in nats per token")]
    behind: float | None
    noise: float | None
    kept: bool = Field(description="True if the candidate went on to train after this comparison")
    left: int = Field(description="The number of candidates that went on to train")


class CandidateObject(BaseModel):
    """One of the adapters that the job chooses from, and how far it has come.

    `saved_steps` and `saved_tokens` are the steps and tokens that the winner has trained beyond this
    candidate. They are null until there is a winner.
    """

    object: Literal["fine_tuning.job.candidate"] = "fine_tuning.job.candidate"
    number: Annotated[int, Field(description="The number of the candidate, from 0")]
    values: dict[str, Any] = Field(
        description="The candidate's own values, by their path in the request, such as `adapter.r`"
    )
    adapter: Adapter
    learning_rate: float
    status: Annotated[
        Literal["waiting", "training", "dropped", "failed", "won"],
        Field(description="`dropped` means that a comparison ended it"),
    ]
    step: Annotated[int, Field(description="Optimizer steps that the candidate has trained")]
    trained_tokens: Annotated[int, Field(description="Tokens that the candidate has trained")]
    saved_steps: int | None
    saved_tokens: int | None
    rungs: Annotated[
        list[RungObject],
        Field(description="The comparisons with other candidates, in the order of the steps"),
    ]
    reason: str | None = Field(
        description="Why the candidate has won or stopped; null while it waits or trains"
    )


class CostObject(BaseModel):
    """The training that the choice needed: the tokens of all candidates, and those of the winner alone.

    `runs` is the ratio of the two numbers.
    """

    trained_tokens: int
    winner_tokens: int
    runs: float


class CandidatesObject(BaseModel):
    object: Literal["list"] = "list"
    data: list[CandidateObject]
    has_more: Literal[False] = False
    winner: int | None = Field(description="The number of the candidate that won; null until then")
    cost: CostObject | None = Field(description="Null until there is a winner")

    @classmethod
    def of(cls, job: Job, rows: Sequence[Candidate]) -> "CandidatesObject":
        search = job.spec["search"]
        if search is None:
            return cls(data=[], winner=None, cost=None)
        found = {row.number: row for row in rows}
        winner = found.get(search["winner"]) if search["winner"] is not None else None
        shown = [
            _candidate(search, number, found.get(number) or _waiting(number), winner)
            for number in range(len(search["candidates"]))
        ]
        return cls(data=sorted(shown, key=_by_success), winner=search["winner"], cost=_cost(shown, winner))


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


def _by_success(candidate: CandidateObject) -> tuple[bool, bool, int, float, int]:
    """Return the key to sort by: the winner, then those that train, then those that ended.

    Within a group, candidates with more steps are first. Among equal steps, the lower last loss is first.
    """
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
