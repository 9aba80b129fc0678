"""Has the rows of training files rendered as in training, by the same process that renders for trainers."""

from collections.abc import Sequence
from io import FileIO
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.catalog import BaseModelEntry, offered_models
from core.datasets.images import image_parts
from core.errors import JobError
from core.images.parts import TYPE
from worker.base_models.model_store import ensure_model
from worker.images.reader import NoImageProcessor, has_processor
from worker.rendering.render_request import Rendered, RenderedImages, RenderRequest
from worker.rendering.renderer import Renderer
from worker.rows.image_store import FIRST_IMAGE_TOKEN, with_placeholders
from worker.rows.row import Row
from worker.rows.row_store import RowStore
from worker.tasks.evaluation.rows.items import PARAM
from worker.tasks.frame.work import Work

ATTEMPTS = 2  # if the process that renders dies
ROOM = 1  # tokens that a server needs beside the prompt


class RowPrompt(NamedTuple):
    """A row as a server is asked about it: its tokens up to the last learnt one, and the images in them."""

    tokens: list[int]
    images: list[dict[str, Any]]


class RenderedRows:
    """The rows that have something to learn, by the number of their line."""

    def __init__(self, store: RowStore, images: RenderedImages | None) -> None:
        self._store, self._images = store, images
        self._positions = {row.line: position for position, row in enumerate(store)}

    def get(self, line: int) -> Row | None:
        position = self._positions.get(line)
        return None if position is None else self._store[position]

    def prompt_of(self, row: Row, conversation: Sequence[dict[str, Any]]) -> RowPrompt:
        """Return the prompt that asks how likely a model finds the row of a conversation.

        It ends with the last learnt token, so that it holds whole images only.
        """
        tokens_L = row.tokens_L[: np.flatnonzero(row.learnt_L)[-1] + 1]
        if self._images is None:
            return RowPrompt(tokens_L.tolist(), [])
        begun = np.isin(tokens_L, FIRST_IMAGE_TOKEN + np.asarray(self._images.first_vectors)).sum()
        images = [part[TYPE] for message in conversation for _, part in image_parts(message)]
        return RowPrompt(with_placeholders(tokens_L.tolist(), self._images.placeholder), images[:begun])


def render_rows(work: Work, base: str, rows: FileIO, folder: Path) -> RenderedRows:
    """Render a file of chat rows. Rows are cut to what a server of this base model takes.

    Raises JobError if the base model is not on offer, or if its chat template refuses a row.
    """
    entry = offered_models(work.settings).get(base)
    if entry is None:
        raise JobError("model_unavailable", f"The base model {base} is not on offer any more.", "model")
    base_folder, _ = ensure_model(entry, work.settings.models_folder, work.advance)
    renderer = Renderer()
    try:
        for _ in range(ATTEMPTS):
            try:
                return _rendered(renderer, base_folder, rows, _request(work, entry, folder, base_folder))
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


def _request(work: Work, entry: BaseModelEntry, folder: Path, base_folder: Path) -> RenderRequest:
    return RenderRequest(
        param=PARAM,
        kind="chat",
        max_length=entry.max_length - ROOM,
        max_tokens=work.settings.max_training_tokens,
        companions_seed=None,
        fingerprint=b"",
        folder=folder,
        reads_images=has_processor(base_folder),  # if the server cannot see them, it refuses each
    )


def _rendered(renderer: Renderer, base_folder: Path, rows: FileIO, request: RenderRequest) -> RenderedRows:
    """Return the rows. Raises EOFError or ConnectionError if the process that renders dies."""
    with renderer.render(base_folder, rows, request) as channel:
        while True:
            match channel.recv():
                case int():
                    continue
                case Rendered() as rendered:
                    entries, values = (FileIO(recv_handle(channel), "rb+") for _ in range(2))
                    return RenderedRows(RowStore(entries, values, rendered.summary), rendered.images)
                case NoImageProcessor():
                    raise JobError(
                        "base_model_without_images",
                        "The base model reads no images, and rows have some: judge another model.",
                        PARAM,
                    )
                case error:
                    raise error
