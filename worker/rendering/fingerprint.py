"""Tells whether a checkpoint can be continued: a fingerprint of all that a job's next steps follow from."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from worker.rows.row import Row


def beginning(spec: Mapping[str, Any], source_sha256: str, quantization: str | None, dtype: str) -> bytes:
    """Return the part of a fingerprint that comes before the rows: the specification and the base model.

    `dtype` is the type that the base model computes in.
    """
    return json.dumps([spec, source_sha256, quantization, dtype], sort_keys=True).encode()


class Fingerprint:
    """A hash of the specification, the base model and the rows.

    The rows are hashed as they were rendered, since the template or the tokenizer may change while the
    dataset stays the same.
    """

    def __init__(self, beginning: bytes) -> None:
        self._digest = hashlib.sha256(beginning)

    def over(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows, and add each of them to the hash."""
        for row in rows:
            self._digest.update(json.dumps([row.line, len(row.tokens_L)]).encode())
            self._digest.update(row.tokens_L.tobytes())
            self._digest.update(row.learnt_L.tobytes())
            if row.weights_L is not None:
                self._digest.update(row.weights_L.tobytes())
            if not row.desirable:
                self._digest.update(b"undesirable")
            yield row

    def add(self, content: bytes) -> None:
        """Add what is no row."""
        self._digest.update(content)

    @property
    def value(self) -> str:
        """The hash of all that was added so far."""
        return self._digest.hexdigest()
