"""Reads all rows of a run, and has them rendered if a criterion asks how likely the model finds them."""

import json
from collections.abc import Iterator, Sequence
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from core.errors import JobError
from core.evals.criteria import OF_THE_ROWS_ANSWER, Criterion
from core.evals.data_sources import DataSource
from core.evals.run_request import RunRequest
from worker.rows.nameless_file import nameless_file
from worker.tasks.evaluation.rows.items import PARAM, Item, Items, item_of
from worker.tasks.evaluation.rows.rendering import RenderedRows, render_rows
from worker.tasks.evaluation.rows.sources import rows_of
from worker.tasks.frame.work import Work


class ReadRows(NamedTuple):
    """The items of a run, and those that are rows of training files as tokens, if they are needed."""

    items: Items
    rendered: RenderedRows | None


def read_rows(work: Work, request: RunRequest, criteria: Sequence[Criterion], folder: Path) -> ReadRows:
    """Read and render the rows. `folder` is for temporary files. Raises JobError and OutsideFault."""
    needs_tokens = any(criterion.type in OF_THE_ROWS_ANSWER for criterion in criteria)
    if needs_tokens and request.served is None:
        raise JobError("no_model", "Loss and token accuracy need a model, and this run asks none.", "model")
    items = Items(folder, request.data_source.samples_per_row)
    with nameless_file(folder) as content:
        conversations = _Conversations(content)
        for item in _items(work, request.data_source, folder):
            items.add(item)
            if needs_tokens:
                conversations.add(item)
        if not needs_tokens or request.served is None:
            return ReadRows(items, None)
        if conversations.is_empty:
            raise JobError(
                "no_training_row",
                "Loss and token accuracy need rows of a training file, and no row is one. "
                f"Line {items[0].line}: {items[0].no_row}.",
                PARAM,
            )
        work.progress("rendering the rows", 0.0)
        return ReadRows(items, render_rows(work, request.served["base"], content, folder))


def _items(work: Work, asked: DataSource, folder: Path) -> Iterator[Item]:
    """Yield the items of a data source. Raises JobError for an unusable row, and for too many or no rows."""
    source, count = asked.source, 0
    most = work.settings.max_eval_rows // asked.samples_per_row
    for row in islice(rows_of(work, source, folder), getattr(source, "limit", None)):
        item, count = item_of(*row), count + 1
        if count > most:
            raise JobError(
                "too_many_rows",
                f"The data source has more than {most:,} rows, which is the most that this server judges in "
                "one run. Set a 'limit'.",
                PARAM,
            )
        yield item
    if not count:
        raise JobError("no_rows", "The data source has no rows.", PARAM)


class _Conversations:
    """Writes conversations as a file of chat rows, each on the line that it had in its own file."""

    def __init__(self, content: FileIO) -> None:
        self._content, self._line = content, 1
        self.is_empty = True

    def add(self, item: Item) -> None:
        if item.conversation is None:
            return
        gap = b"\n" * (item.line - self._line)
        row = json.dumps({"messages": item.conversation, "tools": item.tools}, ensure_ascii=False).encode()
        self._content.write(gap + row + b"\n")
        self._line = item.line + 1
        self.is_empty = False
