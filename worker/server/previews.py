"""Shows rows of files as training sees them: rendered by the same code, in the same kind of process.

No model is loaded. Nobody has checked the files, so this process only passes their bytes on: the process that
renders finds the wanted rows in a child of its own, and renders each of them in another one. So neither a
file nor a row can harm anything else.
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import structlog

from core.catalog import BaseModelEntry, offered_models
from core.datasets.kinds import Kind
from core.errors import InvalidRequest, JobError
from core.serving.previews import Previewed, PreviewOrder, RowError, RowPreview
from core.serving.schemas.coherence import parse
from core.settings import Settings
from core.storage.object_store import ObjectStore
from worker.rendering.render_request import FindRequest, Found, PreviewRequest
from worker.rendering.renderer import Renderer
from worker.server.errors import ModelUnavailable
from worker.server.exchange import Exchange
from worker.server.reading import entry_of
from worker.server.row_finding import find_rows
from worker.server.stored import FOR_FILES, in_base_thread, in_store_thread, open_store
from worker.server.threads import Until, in_daemon_thread, to_its_end
from worker.server.turns import Turns

AT_ONCE = 2  # projects whose rows are read and rendered
MOST_WAITING = 8  # requests of one project; more are refused
WAIT_SECONDS = 60.0
READING_SECONDS = 60.0  # up to the last wanted row
RENDERING_SECONDS = 60.0  # for all rows of one request

log = structlog.get_logger()


class Previews:
    """The previews of one server. Only the event loop may call."""

    def __init__(self, settings: Settings, get_renderer: Callable[[], Renderer]) -> None:
        self._catalog = offered_models(settings)
        self._settings = settings
        self._store = open_store(settings, FOR_FILES)
        self._renderer = get_renderer()
        self._turns = Turns(AT_ONCE, MOST_WAITING, WAIT_SECONDS)

    async def run(self, exchange: Exchange, body: dict[str, Any]) -> None:
        """Answer with the rows. Raises AppError and ClientGone."""
        order = parse(PreviewOrder, body)
        exchange.facts |= {"preview": order.key, "base": order.base}
        exchange.generates = True  # it has its own limits of time
        entry = entry_of(self._catalog, order.base)
        gone = Event()
        async with self._turns.turn(exchange.project):
            answer = await to_its_end(self._previewed(order, entry, gone), gone)
        await exchange.answer(200, answer.model_dump_json().encode())

    async def _previewed(self, order: PreviewOrder, entry: BaseModelEntry, gone: Event) -> Previewed:
        until = Until(READING_SECONDS, gone=gone)
        found = await in_store_thread(partial(self._found, order, until))
        ensure = partial(_ensure_tokenizer, entry, self._settings.models_folder)
        tokenizer = await in_base_thread(ensure)
        look = PreviewRequest("preview", order.max_length)
        until = Until(RENDERING_SECONDS, gone=gone)
        rows = await in_daemon_thread(partial(self._shown, tokenizer, look, found, until), "preview")
        return Previewed(rows=[rows[line] for line in order.lines], numbered_by=found.numbered_by)

    def _found(self, order: PreviewOrder, until: Until) -> Found:
        """Return the wanted rows of the file. Raises InvalidRequest, also if finding them takes too long."""
        most_bytes = max(order.bytes, self._settings.max_file_bytes)
        request = FindRequest(tuple(order.lines), order.kind, most_bytes, self._settings.longest_row_bytes)
        return find_rows(self._renderer, _stored(self._store, order), request, until)

    def _shown(
        self, tokenizer: Path, look: PreviewRequest, found: Found, until: Until
    ) -> dict[int, RowPreview]:
        """Return the rows by their lines. Each row is asked for alone, so that it can fail alone."""
        return {
            line: RowPreview(line=line, error=row)
            if isinstance(row, RowError)
            else self._rendered(tokenizer, look, found.kind, (line, row), until)
            for line, row in found.rows.items()
        }

    def _rendered(
        self, tokenizer: Path, look: PreviewRequest, kind: Kind, numbered: tuple[int, bytes], until: Until
    ) -> RowPreview:
        line, content = numbered
        if until.left <= 0:
            return _too_slow(line)
        row = msgspec.json.decode(content, type=dict[str, Any])
        with self._renderer.look_at(tokenizer, look) as channel:
            try:
                channel.send((kind, [(line, row)]))
                return _look(channel, line, until)
            except (EOFError, ConnectionError):
                message = (
                    "The process that renders the row died, most often because the row is too much for the "
                    "base model's tokenizer. Shorten it."
                )
                return RowPreview(line=line, error=RowError(code="rows_not_rendered", message=message))


def _ensure_tokenizer(entry: BaseModelEntry, models: Path) -> Path:
    """Import what fetches base models: not before the first preview."""
    found: Path = import_module("worker.base_models.model_store").ensure_tokenizer(entry, models)
    return found


def _stored(store: ObjectStore, order: PreviewOrder) -> Iterator[bytes]:
    try:
        return store.read(order.key)
    except FileNotFoundError as error:
        message = "The stored content of the file is gone: upload the file again, and use the new file."
        raise InvalidRequest(message, code="file_not_found", param="file_id") from error


def _too_slow(line: int) -> RowPreview:
    message = (
        f"The rows of this request take longer than {RENDERING_SECONDS:g} s to render. Ask for fewer rows, "
        "or shorten them."
    )
    return RowPreview(line=line, error=RowError(code="rows_not_rendered", message=message))


def _look(channel: Connection, line: int, until: Until) -> RowPreview:
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
