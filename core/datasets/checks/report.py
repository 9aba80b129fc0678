"""What a check has found: findings with a line, a severity and a mend, and figures on the whole file."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from core.datasets.formats.reading import NumberedBy

Severity = Literal["error", "warning", "note"]

KEPT_FINDINGS = 50  # of each code; the counts go on


class ContentFinding(BaseModel):
    """One thing that is wrong with a row, or with the file as a whole."""

    code: Annotated[str, Field(description="What is wrong, for programs")]
    severity: Annotated[
        Severity,
        Field(description="`error`: training would fail or teach harm; `warning`: it would suffer; `note`"),
    ]
    line: Annotated[
        int | None, Field(description="The row's number, from 1. Null if the whole file is meant")
    ]
    field: Annotated[str, Field(description="The path in the row, as `messages[1].content`; may be empty")]
    message: Annotated[str, Field(description="What is wrong")]
    mend: Annotated[str, Field(description="What to do")]
    other_line: Annotated[
        int | None, Field(description="The number of the row that this row repeats, leaks or contradicts")
    ] = None


class CodeCount(BaseModel):
    """How many findings have a code. The list of findings holds the first 50 of them."""

    code: str
    severity: Severity
    count: int


class LengthBin(BaseModel):
    """The number of rows that have so many tokens or more, and fewer than those of the next bin."""

    tokens: int
    rows: int


class Lengths(BaseModel):
    """The lengths of the rows in tokens: measured, or estimated from their bytes."""

    shortest: int
    median: int
    p95: Annotated[int, Field(description="19 in 20 rows are at most so long")]
    longest: int
    total: int
    bytes_per_token: Annotated[float, Field(description="The ratio of the estimate")]
    measured_rows: Annotated[
        int,
        Field(description="Rows whose tokens the base model's tokenizer has counted; others are estimated"),
    ] = 0
    histogram: Annotated[
        list[LengthBin], Field(description="How many rows have how many tokens, in at most 40 equal steps")
    ] = []


class AnswerCount(BaseModel):
    """An answer, or a label, and the number of rows that have it."""

    answer: str
    rows: int


class LanguageCount(BaseModel):
    """A language, and how many of the rows that were looked at answer in it."""

    language: Annotated[str, Field(description="Its code of ISO 639-1, such as `en`")]
    rows: int


class ContentReport(BaseModel):
    """The result of a check."""

    format: Annotated[str | None, Field(description="The form of the input, such as `alpaca`")] = None
    container: Annotated[str | None, Field(description="How the rows are kept, such as `jsonl`")] = None
    numbered_by: Annotated[
        NumberedBy,
        Field(
            description="What `line` and `other_line` count: `line`, or `row` in a JSON array and in "
            "Parquet, where rows have no line of their own"
        ),
    ] = "line"
    kind: Annotated[str | None, Field(description="The kind of row that jobs see. Null if no row shows it")]
    rows: int
    bad_rows: Annotated[int, Field(description="Rows that no job takes; they are not checked further")]
    validation_rows: Annotated[int | None, Field(description="Null without a validation file")]
    counts: list[CodeCount]
    findings: list[ContentFinding]
    lengths: Annotated[Lengths | None, Field(description="Null if no row is correct")]
    answers: Annotated[
        list[AnswerCount] | None,
        Field(description="The answers and their rows, most frequent first. Null if answers are many"),
    ]
    languages: Annotated[
        list[LanguageCount] | None,
        Field(
            description="The languages of the answers, most frequent first, of at most 2,000 rows from all "
            "over the file. Null if none is sure, as for answers that are short, or code"
        ),
    ] = None
    mendable_rows: Annotated[int, Field(description="Rows that a mended copy leaves out")]
    not_mended: Annotated[str | None, Field(description="Why there is no mended copy, if one was wanted")] = (
        None
    )
    examples: Annotated[
        list[dict[str, Any]],
        Field(
            description="The first three rows, as jobs read them. Long texts and lists are cut, and secrets "
            "are masked"
        ),
    ]


class DataFinding(BaseModel):
    """What a job's check has found in the rows of one of its files, before the first step."""

    file: Literal["training_file", "validation_file"]
    code: Annotated[str, Field(description="As in checks of files")]
    severity: Severity
    count: int
    lines: Annotated[list[int], Field(description="The first lines, at most 10")]
    message: Annotated[str, Field(description="What is wrong with the first of them")]
    mend: Annotated[str, Field(description="What to do")]
