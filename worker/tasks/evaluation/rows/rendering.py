"""Has the rows of training files rendered as in training, by the same process that renders for trainers."""

from io import FileIO
from multiprocessing.reduction import recv_handle
from pathlib import Path

from core.catalog import BaseModelEntry, offered_models
from core.errors import JobError
from worker.base_models.model_store import ensure_model
from worker.rendering.render_request import Rendered, RenderRequest
from worker.rendering.renderer import Renderer
from worker.rows.row import Row
from worker.rows.row_store import RowStore
from worker.tasks.evaluation.rows.items import PARAM
from worker.tasks.frame.work import Work

ATTEMPTS = 2  # if the process that renders dies
ROOM = 1  # tokens that a server needs beside the prompt


class RenderedRows:
    """The rows that have something to learn, by the number of their line."""

    def __init__(self, store: RowStore) -> None:
        self._store = store
        self._positions = {row.line: position for position, row in enumerate(store)}

    def get(self, line: int) -> Row | None:
        position = self._positions.get(line)
        return None if position is None else self._store[position]


def render_rows(work: Work, base: str, rows: FileIO, folder: Path) -> RenderedRows:
    """Render a file of chat rows. Rows are cut to what a server of this base model takes.

    Raises JobError if the base model is not on offer, or if its chat template refuses a row.
    """
    entry = offered_models(work.settings).get(base)
    if entry is None:
        raise JobError("model_unavailable", f"The base model {base} is not on offer any more.", "model")
    tokenizer, _ = ensure_model(entry, work.settings.models_folder, work.advance)
    renderer = Renderer()
    try:
        for _ in range(ATTEMPTS):
            try:
                return RenderedRows(_rendered(renderer, tokenizer, rows, _request(work, entry, folder)))
            except (EOFError, ConnectionError):
                continue
    finally:
        renderer.close()
    raise JobError(
        "rows_not_rendered",
        f"The process that reads the rows died {ATTEMPTS} times, most often because memory ran out. Shorten "
        "the longest rows, or ask the operator.",
        PARAM,
    )


def _request(work: Work, entry: BaseModelEntry, folder: Path) -> RenderRequest:
    return RenderRequest(
        param=PARAM,
        kind="chat",
        max_length=entry.max_length - ROOM,
        max_tokens=work.settings.max_training_tokens,
        companions_seed=None,
        fingerprint=b"",
        folder=folder,
    )


def _rendered(renderer: Renderer, tokenizer: Path, rows: FileIO, request: RenderRequest) -> RowStore:
    """Return the rows. Raises EOFError or ConnectionError if the process that renders dies."""
    with renderer.render(tokenizer, rows, request) as channel:
        while True:
            match channel.recv():
                case int():
                    continue
                case Rendered() as rendered:
                    entries, values = (FileIO(recv_handle(channel), "rb+") for _ in range(2))
                    return RowStore(entries, values, rendered.summary)
                case error:
                    raise error
