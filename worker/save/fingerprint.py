"""Tells whether a checkpoint can be continued: a fingerprint of all that a job's next steps follow from."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from worker.engine.base.base_model import ResidentBase
from worker.rows import Row


def fingerprint(spec: Mapping[str, Any], base: ResidentBase, rows: Iterable[Row]) -> str:
    """Return a hash of the specification, the base model and the rows.

    The rows are hashed as they were rendered, since the template or the tokenizer may change while the
    dataset stays the same.
    """
    parts = [spec, base.source_sha256, base.entry.quantization, str(base.dtype)]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    for row in rows:
        digest.update(json.dumps([row.line, len(row.tokens_L)]).encode())
        digest.update(row.tokens_L.tobytes())
        digest.update(row.learnt_L.tobytes())
        if row.weights_L is not None:
            digest.update(row.weights_L.tobytes())
        if not row.desirable:
            digest.update(b"undesirable")
    return digest.hexdigest()
