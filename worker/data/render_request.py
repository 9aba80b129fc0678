"""The messages between a trainer and the process that renders beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.datasets.kinds import Kind
from worker.row_store import Summary


@dataclass(frozen=True)
class RenderRequest:
    """How one file is rendered.

    `param` is the request's field that named the file. `companions_seed` is None unless the objective needs
    companions. `fingerprint` is the beginning of the job's fingerprint. The rows are stored in `folder`.
    One row may take `row_seconds` of computing and `row_bytes` of memory.
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


@dataclass(frozen=True)
class Rendered:
    """The result. The two files of the row store follow it.

    `fingerprint` is that of the job with these rows. `warnings` are sentences for the client, each with data
    for programs.
    """

    summary: Summary
    fingerprint: str
    warnings: list[tuple[str, dict[str, Any]]]
