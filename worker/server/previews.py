"""Shows rows of files as training sees them: rendered by the same code, in the same kind of process.

No model is loaded. A thread reads the file up to the last wanted row. The process that renders has the
tokenizer in memory, and renders each request in a child of its own, so that a row can harm nothing else.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import msgspec
import structlog
from anyio import CapacityLimiter

from core.catalog import offered_models
from core.datasets.findings import Finding
from core.datasets.formats.reading import Dataset, NumberedBy, open_dataset
from core.datasets.formats.unreadable import Unreadable
from core.datasets.kinds import Kind
from core.datasets.row_check import RowCheck
from core.errors import InvalidRequest, JobError
from core.serving.previews import Previewed, PreviewOrder, RowError, RowPreview
from core.serving.schemas.coherence import parse
from core.settings import Settings
from core.storage.object_store import ObjectStore
from worker.rendering.render_request import PreviewRequest
from worker.rendering.renderer import Renderer
from worker.rendering.row_limits import Line
from worker.server.errors import ModelUnavailable
from worker.server.exchange import Exchange
from worker.server.reading import entry_of
from worker.server.stored import FOR_FILES, in_base_thread, in_store_thread, open_store
from worker.server.threads import in_daemon_thread

AT_ONCE = 2  # requests that are read and rendered; others wait
READING_SECONDS = 60.0  # up to the last wanted row
RENDERING_SECONDS = 60.0  # for all rows of one request
LOOK_SECONDS = 0.5  # between two looks whether the client is still there

log = structlog.get_logger()

Lines = dict[int, dict[str, Any] | RowError]
Item = TypeVar("Item")


@dataclass
class Until:
    """How long the work on one request may go on: for some seconds, or until its client is gone."""

    seconds: float
    began: float = field(default_factory=time.monotonic)
    gone: Event = field(default_factory=Event)

    @property
    def left(self) -> float:
        """The seconds that are left; 0 if there are none."""
        return 0.0 if self.gone.is_set() else max(0.0, self.began + self.seconds - time.monotonic())

    def wait(self, channel: Connection) -> bool:
        """Return whether something has come through the channel in time."""
        while (left := self.left) > 0:
            if channel.poll(min(left, LOOK_SECONDS)):
                return True
        return False


class Previews:
    """The previews of one server. Only the event loop may call."""

    def __init__(self, settings: Settings) -> None:
        self._catalog = offered_models(settings)
        self._settings = settings
        self._store = open_store(settings, FOR_FILES)
        self._renderer = Renderer()
        self._limiter = CapacityLimiter(AT_ONCE)

    async def run(self, exchange: Exchange, body: dict[str, Any]) -> None:
        """Answer with the rows. Raises AppError and ClientGone."""
        order = parse(PreviewOrder, body)
        exchange.facts |= {"preview": order.key, "base": order.base}
        exchange.generates = True  # it has its own limits of time
        entry = entry_of(self._catalog, order.base)
        gone = Event()
        async with self._limiter:
            try:
                models = self._settings.models_folder
                tokenizer = await in_base_thread(partial(_ensure_tokenizer, entry, models))
                until = Until(READING_SECONDS, gone=gone)
                read = partial(_read, self._store, order, self._settings, until)
                kind, numbered_by, lines = await in_store_thread(read)
                look = PreviewRequest("preview", order.max_length)
                until = Until(RENDERING_SECONDS, gone=gone)
                show = partial(self._shown, tokenizer, look, kind, lines, until)
                rows = await in_daemon_thread(show, "preview")
            finally:
                gone.set()  # its thread ends soon, also if nobody waits for it any more
        answer = Previewed(rows=[rows[line] for line in order.lines], numbered_by=numbered_by)
        await exchange.answer(200, answer.model_dump_json().encode())

    def close(self) -> None:
        self._renderer.close()

    def _shown(
        self, tokenizer: Path, look: PreviewRequest, kind: Kind, lines: Lines, until: Until
    ) -> dict[int, RowPreview]:
        """Return the rows by their lines. Each row is asked for alone, so that it can fail alone."""
        shown = {
            line: RowPreview(line=line, error=row) for line, row in lines.items() if isinstance(row, RowError)
        }
        for line, row in lines.items():
            if not isinstance(row, RowError):
                shown[line] = self._rendered(tokenizer, look, kind, (line, row), until)
        return shown

    def _rendered(
        self, tokenizer: Path, look: PreviewRequest, kind: Kind, numbered: Line, until: Until
    ) -> RowPreview:
        line = numbered[0]
        if until.left <= 0:
            return _too_slow(line)
        with self._renderer.look_at(tokenizer, look) as channel:
            try:
                channel.send((kind, [numbered]))
                return _answered(channel, line, until)
            except (EOFError, ConnectionError):
                message = (
                    "The process that renders the row died, most often because the row is too much for the "
                    "base model's tokenizer. Shorten it."
                )
                return RowPreview(line=line, error=RowError(code="rows_not_rendered", message=message))


def _too_slow(line: int) -> RowPreview:
    message = (
        f"The rows of this request take longer than {RENDERING_SECONDS:g} s to render. Ask for fewer rows, "
        "or shorten them."
    )
    return RowPreview(line=line, error=RowError(code="rows_not_rendered", message=message))


def _answered(channel: Connection, line: int, until: Until) -> RowPreview:
    """Return the child's answer. Raises EOFError and ConnectionError if it dies, and ModelUnavailable."""
    found = None
    for _ in ("the control tokens", "the rows"):
        if not until.wait(channel):
            return _too_slow(line)
        found = channel.recv()
        if isinstance(found, Exception):
            break
    match found:
        case [RowPreview() as row]:
            return row
        case JobError() as error:
            return RowPreview(line=line, error=RowError(code=error.code, message=str(error)))
        case error:
            log.error("preview_failed", error=str(error))
            raise ModelUnavailable("The base model's tokenizer cannot be loaded; the server's log says why.")


def _ensure_tokenizer(entry: Any, models: Path) -> Path:
    """Import what fetches base models: not before the first preview."""
    found: Path = import_module("worker.base_models.model_store").ensure_tokenizer(entry, models)
    return found


def _read(
    store: ObjectStore, order: PreviewOrder, settings: Settings, until: Until
) -> tuple[Kind, NumberedBy, Lines]:
    """Return the kind of the file, what its numbers count, and its wanted rows.

    Raises InvalidRequest, also if it takes too long.
    """
    check = RowCheck()
    check.kind = order.kind
    found: Lines = {}
    wanted = set(order.lines)
    try:
        dataset = _dataset(store, order, settings, until)
        for number, row in _in_time(dataset.rows, order, until):
            if number in wanted or check.kind is None:
                result = _checked(check, row)
                if number in wanted:
                    found[number] = result
            if number >= max(wanted):
                break
    except Unreadable as error:
        raise InvalidRequest(
            f"The file cannot be read: {error.prefix}{error}.", code=error.code, param="file_id"
        ) from error
    word = dataset.format.numbered_by
    missing = {line: RowError(code="no_such_line", message=_missing(word, line)) for line in wanted}
    return check.kind or "chat", word, missing | found


def _in_time(items: Iterator[Item], order: PreviewOrder, until: Until) -> Iterator[Item]:
    """Yield the items for as long as there is time. Raises InvalidRequest afterwards."""
    for item in items:
        if until.left <= 0:
            raise InvalidRequest(
                f"The rows up to number {max(order.lines)} take longer than {READING_SECONDS:g} s to read. "
                "Ask for earlier rows.",
                code="line_too_far",
                param="lines",
            )
        yield item


def _dataset(store: ObjectStore, order: PreviewOrder, settings: Settings, until: Until) -> Dataset:
    try:
        chunks = _in_time(store.read(order.key), order, until)  # also where a file has no rows
    except FileNotFoundError as error:
        message = "The stored content of the file is gone: upload the file again, and use the new file."
        raise InvalidRequest(message, code="file_not_found", param="file_id") from error
    most_bytes = max(order.bytes, settings.max_file_bytes)
    return open_dataset(chunks, most_bytes, settings.max_row_bytes)


def _checked(check: RowCheck, row: bytes | Finding) -> dict[str, Any] | RowError:
    findings = [row] if isinstance(row, Finding) else check.findings(row)
    if findings or isinstance(row, Finding):
        found = findings[0]
        field = f"{found.field}: " if found.field else ""
        return RowError(code=found.code, message=f"No job takes the row: {field}{found.message}")
    return msgspec.json.decode(row, type=dict[str, Any])


def _missing(numbered_by: NumberedBy, number: int) -> str:
    return (
        f"The file has no row on line {number}."
        if numbered_by == "line"
        else f"The file has no row {number}."
    )
