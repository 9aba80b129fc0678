"""Measures the rows of a check under a base model, in a render process: with the template and the tokenizer.

A row takes a few hundred microseconds, ten times what the rest of a check takes. So the first rows are
measured, and later ones only if their estimate comes near the limit, up to as many again. The other rows are
estimated with the ratio of bytes and tokens that the measured ones had.
"""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from core.catalog import offered_models
from core.errors import JobError
from core.jobs.token_counts import tokenizer_of
from core.settings import Settings
from core.tables import TokenCount
from worker.base_models.model_store import ensure_tokenizer
from worker.dataset_checks.content_check import ContentCheck
from worker.dataset_checks.one_row.contents import TEMPLATE_TOKENS, Contents
from worker.rendering.render_request import PreviewRequest
from worker.rendering.renderer import Renderer
from worker.rendering.row_limits import Line

MEASURED_ROWS = 20_000
NEAR = 0.5  # of the limit: from here on, a row may be cut
BATCH_ROWS, BATCH_BYTES = 200, 4 * 1024**2

log = structlog.get_logger()

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class _Sent(NamedTuple):
    """A row that is being measured: its position in the columns, its bytes, and what estimates add to it."""

    position: int
    bytes: int
    template_tokens: int


class Measuring:
    """Measures the rows of one check. While the process measures a batch, the caller gathers the next one."""

    def __init__(self, check: ContentCheck, settings: Settings, base: str, max_length: int) -> None:
        """Raises JobError if the base model is not there, and OutsideFault if the hub does not answer."""
        entry = offered_models(settings).get(base)
        if entry is None:
            raise JobError("model_unavailable", f"The base model {base} is not on offer any more.", "model")
        self._check, self._max_length = check, max_length
        self._tokenizer: Path = ensure_tokenizer(entry, settings.models_folder)
        self._renderer = Renderer()
        self._channel = self._renderer.look_at(self._tokenizer, PreviewRequest("lengths", max_length))
        check.know_tokens(self._received())
        self._batch: list[tuple[_Sent, Line]] = []
        self._batch_bytes = 0
        self._sent: list[_Sent] = []
        self._measured = self._near = 0
        self._bytes = self._tokens = 0  # of measured rows, without what estimates add for the template
        self._entry = entry
        self._learnt: list[int] = []  # tokens of the rows that training takes, as it cuts them
        self._refused = False

    def add(self, number: int, line: bytes, row: Contents) -> None:
        """Take the row that the check has just taken."""
        if not self._wants(row):
            return
        index = len(self._check.file.columns) - 1
        self._batch.append((_Sent(index, row.bytes, TEMPLATE_TOKENS * row.messages), (number, _decode(line))))
        self._batch_bytes += len(line)
        if len(self._batch) >= BATCH_ROWS or self._batch_bytes >= BATCH_BYTES:
            self._send_batch()

    def finish(self) -> None:
        """Measure what is left."""
        while self._batch or self._sent:
            self._send_batch()

    def count(self, file_id: str) -> TokenCount | None:
        """Return the tokens that a job would train, or its prompts have; None unless all rows were measured.

        A row must be one conversation: the measured length of two answers is that of the longer one.
        """
        measured = len(self._check.file.columns) == self._measured + self._near
        kind = self._check.file.kind
        if not measured or self._refused or kind not in ("chat", "prompt") or not self._learnt:
            return None
        return TokenCount(
            file_id=file_id,
            tokenizer=tokenizer_of(self._entry),
            rendering=kind,
            max_length=self._max_length,
            rows=len(self._learnt),
            tokens=sum(self._learnt),
            longest=max(self._learnt),
            squares=float(sum(tokens**2 for tokens in self._learnt)),
        )

    def close(self) -> None:
        """End the process that renders."""
        self._channel.close()
        self._renderer.close()

    def _wants(self, row: Contents) -> bool:
        if self._measured < MEASURED_ROWS:
            self._measured += 1
            return True
        estimate = row.bytes / self._check.file.bytes_per_token + TEMPLATE_TOKENS * row.messages
        if estimate < NEAR * self._max_length or self._near >= MEASURED_ROWS:
            return False
        self._near += 1
        return True

    def _send_batch(self) -> None:
        """Take the lengths of the batch before, and send this one."""
        lengths = self._received() if self._sent else []
        for row, each in zip(self._sent, lengths, strict=True):
            self._check.measure(row.position, each)
            self._refused = self._refused or each.refusal is not None
            if each.is_learnt:
                self._learnt.append(min(each.tokens, self._max_length))
            if each.refusal is None:
                self._bytes += row.bytes
                self._tokens += each.tokens - row.template_tokens
        self._sent = [row for row, _ in self._batch]
        if self._batch:
            self._send([row for _, row in self._batch])
        self._batch, self._batch_bytes = [], 0
        if self._bytes and self._tokens > 0:
            self._check.file.bytes_per_token = self._bytes / self._tokens

    def _send(self, rows: list[Line]) -> None:
        try:
            self._channel.send((self._check.file.kind, rows))
        except ConnectionError as error:
            raise _died() from error

    def _received(self) -> Any:
        try:
            found = self._channel.recv()
        except (EOFError, ConnectionError) as error:
            raise _died() from error
        if isinstance(found, Exception):
            raise found
        return found


def _died() -> JobError:
    return JobError(
        "rows_not_rendered",
        "The process that renders the rows died, most often because a row is too much for the base model's "
        "tokenizer. Shorten the longest rows, or check the file without a 'model'.",
        "model",
    )
