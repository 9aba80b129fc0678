"""What a run that samples each row several times says of one criterion, beside its value."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class RowOfSamples(BaseModel):
    """What a criterion says of all samples of one row. Those that could not be judged do not count."""

    datasource_item_id: Annotated[int, Field(description="The row's position in the data source, from 0")]
    samples: int
    mean_score: float
    passed: int


class Histogram(BaseModel):
    """How many values lie in each of some bins of equal width, from `low` to `high`."""

    low: float
    high: float
    counts: list[int]


SamplesVerdict = Literal["learnable", "too_hard", "too_easy", "no_variance"]


class SampledRows(BaseModel):
    """What several samples of each row say: how often the model succeeds, and whether it can learn from them.

    Only rows with a sample that could be judged count. What counts passed samples is null if the criterion
    has no `pass_threshold`, since every sample passes then.
    """

    samples_per_row: int
    rows: int
    rows_without_variance: Annotated[
        int,
        Field(
            description="Rows whose samples all have the same score. A reinforcement job learns nothing from "
            "them"
        ),
    ]
    rows_never_passed: int | None
    rows_always_passed: int | None
    pass_at_k: Annotated[
        dict[int, float] | None,
        Field(
            description="For each k, how likely one of k samples of a row passes. Rows with fewer samples do "
            "not count"
        ),
    ]
    mean_scores: Annotated[Histogram, Field(description="The rows by the mean score of their samples")]
    worst: Annotated[list[RowOfSamples], Field(description="The rows with the lowest mean scores")]
    best: Annotated[list[RowOfSamples], Field(description="The rows with the highest mean scores")]
    verdict: Annotated[
        SamplesVerdict,
        Field(
            description="Whether a reinforcement job with this criterion as its grader can learn from the "
            "rows: `learnable` if the samples of at least a tenth of them differ in their scores. "
            "`no_variance` stands for `too_hard` or `too_easy` where no `pass_threshold` tells them apart"
        ),
    ]
    advice: Annotated[str, Field(description="The verdict in words, with what to do")]
