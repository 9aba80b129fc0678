"""Rows of a file as training sees them: what a client asks for, what the API tells a server, the answer."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from core.datasets.checks.requests import MOST_LENGTH, Line
from core.datasets.formats.reading import NumberedBy
from core.datasets.kinds import Kind
from core.options import Options

PREVIEW = "/v1/preview"  # the server's path
MOST_LINES = 20


class PreviewRequest(Options):
    """Which rows are shown, and under which base model."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: Annotated[str, Field(min_length=1, max_length=256)]
    """A base model, whose chat template and tokenizer render the rows"""
    lines: Annotated[list[Line], Field(min_length=1, max_length=MOST_LINES)] = [1]  # noqa: RUF012
    """The lines of the rows in the file, from 1. In a JSON array and in Parquet, the rows are counted"""
    max_length: Annotated[int, Field(ge=1, le=MOST_LENGTH)] | None = None
    """The tokens of a row after which training cuts it. By default the model's limit"""


class Segment(BaseModel):
    """Tokens that follow each other and are learnt alike."""

    text: Annotated[str, Field(description="What the template made of this part of the row")]
    learnt: Annotated[bool, Field(description="Whether the model learns to write these tokens")]
    weight: Annotated[float, Field(description="How much they count in the loss; 0 if they are not learnt")]
    tokens: int
    token_ids: list[int]


class ConversationPreview(BaseModel):
    """A conversation as the base model's chat template renders it, up to the limit."""

    desirable: Annotated[
        bool, Field(description="False for the answer that training makes less likely, in rows that have one")
    ]
    tokens: Annotated[int, Field(description="The tokens that training sees")]
    learnt_tokens: int
    cut_tokens: Annotated[int, Field(description="The tokens behind `max_length`, which training never sees")]
    cut_text: Annotated[str, Field(description="The begin of their text, up to 2,000 characters")]
    segments: list[Segment]
    shown_tokens: Annotated[int, Field(description="The tokens that `segments` has: at most 20,000")]


class RowError(BaseModel):
    """Why a row is not shown."""

    code: str
    message: str


class RowPreview(BaseModel):
    """One row of the file as training sees it.

    A chat, a labelled answer and a prompt are one conversation. Two answers are two: first the preferred one.
    """

    line: int
    is_learnt: Annotated[
        bool,
        Field(
            description="Whether training takes the row: every conversation has something to learn, or is a "
            "whole prompt"
        ),
    ] = False
    conversations: list[ConversationPreview] = []
    error: Annotated[
        RowError | None, Field(description="Why there is no preview; a job would fail or refuse the file")
    ] = None


class PreviewOrder(BaseModel):
    """The file in the store, the base model's id, and the lines of the rows.

    `kind` is None for a file that was not checked when it was uploaded: its first row shows it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    key: str
    bytes: int
    kind: Kind | None
    max_length: int
    lines: list[int]


class Previewed(BaseModel):
    """The rows, in the order of the lines that were asked for."""

    rows: list[RowPreview]
    numbered_by: NumberedBy
