"""The messages between a trainer or a server and the process that renders beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.datasets.checks.report import DataFinding
from core.datasets.formats.reading import NumberedBy
from core.datasets.kinds import Kind
from core.datasets.preparation.requests import Preparation
from core.serving.previews import RowError
from worker.dataset_checks.content_check import RowsOfFile
from worker.images.inputs import Arrays
from worker.rows.row_store import Summary

NO_TOKENIZER = "no tokenizer"
"""Stands for the folder of a tokenizer if the child needs none."""


@dataclass(frozen=True)
class RenderRequest:
    """How one file is rendered.

    `param` is the request's field that named the file. `companions_seed` is None unless the objective needs
    companions. `fingerprint` is the beginning of the job's fingerprint. The rows are stored in `folder`.
    One row may take `row_seconds` of computing and `row_bytes` of memory. If `is_checked`, the
    rows are checked, and compared with the `training_rows`, if they are those of a validation file.
    `invocation` are the tokens from which on the job's adapter acts; it acts on all tokens if there are none.
    `reads_images` says whether the base model's folder has a processor for images.
    """

    param: str
    kind: Kind
    max_length: int
    max_tokens: int
    companions_seed: int | None
    fingerprint: bytes
    folder: Path
    row_seconds: int = 60
    row_bytes: int = 4 * 1024**3
    is_checked: bool = False
    training_rows: RowsOfFile | None = None
    invocation: Sequence[int] = ()
    reads_images: bool = False


@dataclass(frozen=True)
class PrepareRequest:
    """How the rows to train on, and those to hold out, are made of one file.

    One row may take `row_seconds` of computing. The result is a `Prepared`. Two files in `folder` follow it:
    the rows to train on, and those held out.
    """

    param: str
    kind: Kind
    asked: Preparation
    seed: int
    folder: Path
    row_seconds: int = 60


@dataclass(frozen=True)
class RenderedImages:
    """The images of a file: the token that a tokenizer has for each part, and the first vector of each."""

    placeholder: int
    first_vectors: Sequence[int]


@dataclass(frozen=True)
class Rendered:
    """The result. The two files of the row store follow it, and then the images, each as a `ReadImage`.

    `images` is None if there are none. `fingerprint` is that of the job with these rows. `warnings` are
    sentences for the client, each with data for programs. If the rows were checked, `findings` say what was
    found, and `checked_rows` are those of the training file.
    """

    summary: Summary
    fingerprint: str
    warnings: list[tuple[str, dict[str, Any]]]
    findings: list[DataFinding] = field(default_factory=list)
    checked_rows: RowsOfFile | None = None
    images: RenderedImages | None = None


@dataclass(frozen=True)
class ReadImage:
    """An image of the file: the number of its first vector, and the arguments of the model's tower."""

    first: int
    arrays: Arrays


@dataclass(frozen=True)
class PreviewRequest:
    """How single rows are rendered, for somebody who looks at them before a training does.

    `look` says what comes back for each row: a preview (`core/serving/previews.py`), or its lengths
    (`worker/dataset_checks/all_rows/columns.py`). First of all come the tokenizer's control tokens.
    Then each list of rows is sent with their kind.
    """

    look: Literal["preview", "lengths"]
    max_length: int
    row_seconds: int = 10
    row_bytes: int = 1024**3


@dataclass(frozen=True)
class FindRequest:
    """Which rows of a file of any format are found: those with these numbers.

    The file's bytes come through a pipe, and what was found is a `Found`. `kind` is None if the first row
    shows it. The file may expand to `most_bytes`, and one row of it to `most_row_bytes`. Finding may take
    `seconds` of computing and `more_bytes` of memory.
    """

    numbers: tuple[int, ...]
    kind: Kind | None
    most_bytes: int
    most_row_bytes: int
    seconds: int = 60
    more_bytes: int = 1024**3


@dataclass(frozen=True)
class Found:
    """The wanted rows as JSON, or why no job takes them. `numbered_by` is what the numbers count."""

    kind: Kind
    numbered_by: NumberedBy
    rows: dict[int, bytes | RowError]


@dataclass(frozen=True)
class CallsRequest:
    """How functions of a tokenizer are called: what comes through the channel is called with the tokenizer.

    One call may take `seconds` of computing, and all calls together `more_bytes` of memory. Back comes what
    the function returns or raises.
    """

    seconds: int = 10
    more_bytes: int = 1024**3


Request = RenderRequest | PrepareRequest | PreviewRequest | FindRequest | CallsRequest
