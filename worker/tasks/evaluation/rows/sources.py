"""Reads the rows of a run's data source: from the request, a file, stored completions or the general set."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import resources
from io import FileIO
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Select, select

from core.datasets import strict_json
from core.datasets.findings import Finding
from core.datasets.reader import RowReader
from core.errors import JobError
from core.evals.data_sources import (
    FileContentSource,
    FileSource,
    GeneralSource,
    StoredCompletionsSource,
)
from core.ids import first_id_at
from core.serving.stored_completions import ID_PREFIX
from core.tables import File, StoredCompletion
from worker.rendering.stored_file import fetch
from worker.tasks.evaluation.rows.items import PARAM, invalid
from worker.tasks.frame.work import Work

CHUNK_BYTES = 256 * 1024
PAGE_ROWS = 100
GENERAL_SET = resources.files("core.evals").joinpath("general.jsonl")


class SourceRow(NamedTuple):
    """One row of a data source. `line` is its number there, from 1."""

    line: int
    row: Any
    beside: Mapping[str, Any] | None = None
    """Fields of the item that the row may lack"""


Source = FileContentSource | FileSource | StoredCompletionsSource | GeneralSource


def rows_of(work: Work, source: Source, folder: Path) -> Iterator[SourceRow]:
    """Yield the rows of a data source, in their order. `folder` is for temporary files.

    Raises JobError if a line is not a row, or if the source is gone.
    """
    match source:
        case FileContentSource():
            for line, row in enumerate(source.content, 1):
                yield SourceRow(line, {"item": row.item, "sample": row.sample})
        case FileSource():
            yield from _of_file(work, source, folder)
        case StoredCompletionsSource():
            yield from map(_of_completion, count(1), _stored(work, source))
        case GeneralSource():
            yield from _of_lines([GENERAL_SET.read_bytes()], work.settings.longest_row_bytes)


def _of_file(work: Work, source: FileSource, folder: Path) -> Iterator[SourceRow]:
    with work.sessions() as session:
        file = session.get(File, source.id)
    if file is None or file.project_id != work.task.project_id or file.deleted_at is not None:
        reason = f"The file {source.id} is deleted. Upload it again, and create a new run."
        raise JobError("file_not_found", reason, PARAM)
    with fetch(work.store, file, PARAM, folder, lambda: None) as content:
        yield from _of_lines(_chunks(content), work.settings.longest_row_bytes)


def _chunks(content: FileIO) -> Iterator[bytes]:
    content.seek(0)
    return iter(lambda: content.read(CHUNK_BYTES), b"")


def _of_lines(chunks: Iterable[bytes], max_row_bytes: int) -> Iterator[SourceRow]:
    reader = RowReader(max_row_bytes)
    for number, line in chain(chain.from_iterable(map(reader.feed, chunks)), reader.finish()):
        if isinstance(line, Finding):
            raise invalid(number, line.message)
        try:
            yield SourceRow(number, strict_json.parse(line))
        except strict_json.UnreadableLine as error:
            raise invalid(number, str(error)) from error


def _stored(work: Work, source: StoredCompletionsSource) -> Iterator[StoredCompletion]:
    """Yield the project's stored completions from before the run was created, oldest first."""
    selected, after = _selection(work, source), ""
    while True:
        with work.sessions() as session:
            page = session.scalars(selected.where(StoredCompletion.id > after).limit(PAGE_ROWS)).all()
        yield from page
        if len(page) < PAGE_ROWS:
            return
        after = page[-1].id


def _selection(work: Work, source: StoredCompletionsSource) -> Select[StoredCompletion]:
    def first_id(moment: int) -> str:
        return first_id_at(ID_PREFIX, datetime.fromtimestamp(moment, UTC))

    key = StoredCompletion.id
    query = select(StoredCompletion).where(
        StoredCompletion.project_id == work.task.project_id,
        key < first_id_at(ID_PREFIX, work.task.created_at),
    )
    if source.created_after is not None:
        query = query.where(key >= first_id(source.created_after))
    if source.created_before is not None:
        query = query.where(key < first_id(source.created_before))
    if source.model is not None:
        query = query.where(StoredCompletion.model == source.model)
    if source.metadata:
        query = query.where(StoredCompletion.client_metadata.contains(source.metadata))
    return query.order_by(key)


def _of_completion(line: int, stored: StoredCompletion) -> SourceRow:
    """Return the request and the answer of a stored completion as the row of a training file.

    It has `input` and `reference` also if no training file may hold the messages, such as calls of tools.
    """
    answer = stored.answer["choices"][0]["message"]
    asked = [_without_absent(message) for message in stored.request["messages"]]
    row = {"item": {"messages": [*asked, _without_absent(answer)]}}
    return SourceRow(line, row, {"input": asked, "reference": answer.get("content") or ""})


def _without_absent(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if value not in (None, [])}
