"""What a checkpoint must agree with to be continued: all that a job's further steps follow from."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from worker.engine.base.base_model import ResidentBase
from worker.rows import Row


def fingerprint(spec: Mapping[str, Any], base: ResidentBase, rows: Iterable[Row]) -> str:
    """Of the rows as they were rendered: template and tokenizer may change where the dataset does not."""
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
