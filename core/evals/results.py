"""What a run of an eval finds: a record for each row, a report of the whole, and how two runs differ.

A row that is sampled several times has so many records, one after the other. The worker writes the records
as JSON lines in the order of their rows, ROWS_IN_A_FILE in each file, named by `file_of`. So a page of
records is read without the others. The report is the `report` of the run's task.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from core.evals.sampled_rows import SampledRows

ROWS_IN_A_FILE = 100
FILE_NAME = "items-{:05d}.jsonl"

ItemStatus = Literal["pass", "fail", "error"]
StatusCounts = dict[ItemStatus, int]


def file_of(index: int) -> str:
    """Return the name of the file that has a record. Records count from 0."""
    return FILE_NAME.format(index // ROWS_IN_A_FILE)


class RowResult(BaseModel):
    """The score that one criterion gives one row.

    `counts` has what the result of all rows is computed from, where that is not the mean of the scores:
    `{"sum": nats, "tokens": n}` for loss, `{"right": n, "tokens": n}` for token accuracy,
    `{"label": text, "predicted": text}` for F1 by label, and
    `{field: [true positives, false positives, false negatives]}` for F1 by field.
    """

    name: str
    type: str
    score: float
    passed: bool
    counts: dict[str, Any] | None = None
    sample: Annotated[dict[str, Any] | None, Field(description="What a grader's own model wrote")] = None


class RowError(BaseModel):
    """Why a row could not be judged."""

    code: str
    message: str


class ModelUsage(BaseModel):
    """The requests and tokens that a row or a run has used of one model."""

    model_name: str
    invocation_count: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    total_tokens: int = 0


class Record(BaseModel):
    """One row of a run, or one sample of a row: the item, what the model wrote, and what the criteria say.

    `sample` has OpenAI's fields: input, output, finish_reason, model, usage, seed, temperature, top_p,
    max_completion_tokens, error. It is null where no criterion needs one. A row with an `error` has no
    results.
    """

    index: int
    item: dict[str, Any]
    sample: dict[str, Any] | None = None
    results: list[RowResult] = []
    error: RowError | None = None
    usage: list[ModelUsage] = []

    @property
    def passed(self) -> bool:
        """Whether the row passes every criterion."""
        return self.error is None and all(result.passed for result in self.results)

    @property
    def status(self) -> ItemStatus:
        if self.error is not None:
            return "error"
        return "pass" if self.passed else "fail"


class CriterionResult(BaseModel):
    """What one criterion says of all rows that could be judged.

    `low` and `high` are the ends of a 95 % interval (core/evals/statistics/intervals.py). `value` is null if
    no row could be judged, `low` and `high` also if the rows are too few to say how sure it is. `passed` and
    `failed` count each row as often as it was sampled. `details` has the F1 of each label or field, where
    there are any: of the 100 commonest.
    """

    name: str
    type: str
    value: float | None
    low: float | None
    high: float | None
    better: Literal["higher", "lower"]
    passed: int
    failed: int
    details: dict[str, float] | None = None
    sampled: Annotated[SampledRows | None, Field(description="Null if each row was sampled at most once")] = (
        None
    )


class RunReport(BaseModel):
    """What a run found. `total` is the number of rows: passed, failed and errored.

    `by_file` counts the rows of each status in each file, so that a page of rows with one status reads only
    files that have some.
    """

    total: int
    passed: int
    failed: int
    errored: int
    criteria: list[CriterionResult]
    usage: list[ModelUsage]
    by_file: dict[str, StatusCounts]


def count_in_file(record: Record, by_file: dict[str, StatusCounts]) -> None:
    """Count a record among those of its file."""
    counts = by_file.setdefault(file_of(record.index), {})
    counts[record.status] = counts.get(record.status, 0) + 1


Verdict = Literal["better", "worse", "no_clear_difference"]


class ChangedRows(BaseModel):
    """How many rows the tuned model does better, worse, and equally well, by the score of each row."""

    better: int
    worse: int
    equal: int


class CriterionComparison(BaseModel):
    """What one criterion says of two models on the rows that both runs could judge."""

    name: str
    type: str
    base: CriterionResult
    tuned: CriterionResult
    difference: Annotated[float | None, Field(description="The tuned model's value minus the base's")]
    low: Annotated[float | None, Field(description="The lower end of the difference's 95 % interval")]
    high: Annotated[float | None, Field(description="The upper end of the difference's 95 % interval")]
    p_value: Annotated[
        float | None,
        Field(description="How likely at least this difference would be if the models were equally good"),
    ]
    adjusted_p_value: Annotated[
        float | None, Field(description="`p_value` after Holm's correction for all criteria")
    ]
    verdict: Annotated[
        Verdict,
        Field(
            description="`better` or `worse` if `adjusted_p_value` is below 0.05, `no_clear_difference` "
            "otherwise. The last does not say that the models are equal: the rows are too few to tell. The "
            "verdict holds where the interval disagrees: for values that are not shares of rows, one outlier "
            "widens a bootstrap interval (Hall, 1988) in another way than it moves a permutation test "
            "(Phipson and Smyth, 2010)"
        ),
    ]
    rows: ChangedRows
