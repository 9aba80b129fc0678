"""Reads the rows of a run's data source: from the request, a file, stored completions or the general set."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from io import FileIO
from itertools import chain, islice
from pathlib import Path
from typing import Any

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
from worker.tasks.evaluation.rows.items import PARAM, Item, invalid, item_of
from worker.tasks.frame.process import Work

CHUNK_BYTES = 256 * 1024
PAGE_ROWS = 100
GENERAL_SET = "general.jsonl"

Source = FileContentSource | FileSource | StoredCompletionsSource | GeneralSource


def read_items(work: Work, source: Source, folder: Path) -> Iterator[Item]:
    """Yield the items of a data source, each with its line number. `folder` is for temporary files.

    Raises JobError if a row is unusable, if there are too many rows, or if there is none.
    """
    most, count = work.settings.max_eval_rows, 0
    for item in islice(_items(work, source, folder), getattr(source, "limit", None)):
        count += 1
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


def _items(work: Work, source: Source, folder: Path) -> Iterator[Item]:
    match source:
        case FileContentSource():
            for line, row in enumerate(source.content, 1):
                yield item_of(line, {"item": row.item, "sample": row.sample})
        case FileSource():
            yield from _of_file(work, source, folder)
        case StoredCompletionsSource():
            for line, stored in enumerate(_stored(work, source), 1):
                yield _of_completion(line, stored)
        case GeneralSource():
            yield from _of_general_set(work.settings.max_row_bytes)


def _of_file(work: Work, source: FileSource, folder: Path) -> Iterator[Item]:
    with work.sessions() as session:
        file = session.get(File, source.id)
    if file is None or file.project_id != work.task.project_id or file.deleted_at is not None:
        reason = f"The file {source.id} is deleted. Upload it again, and create a new run."
        raise JobError("file_not_found", reason, PARAM)
    with fetch(work.store, file, PARAM, folder, lambda: None) as content:
        yield from _of_lines(_chunks(content), work.settings.max_row_bytes)


def _of_general_set(max_row_bytes: int) -> Iterator[Item]:
    content = resources.files("core.evals").joinpath(GENERAL_SET).read_bytes()
    yield from _of_lines([content], max_row_bytes)


def _chunks(content: FileIO) -> Iterator[bytes]:
    content.seek(0)
    return iter(lambda: content.read(CHUNK_BYTES), b"")


def _of_lines(chunks: Iterable[bytes], max_row_bytes: int) -> Iterator[Item]:
    reader = RowReader(max_row_bytes)
    for number, line in chain(chain.from_iterable(map(reader.feed, chunks)), reader.finish()):
        if isinstance(line, Finding):
            raise invalid(number, line.message)
        try:
            row = strict_json.parse(line)
        except strict_json.UnreadableLine as error:
            raise invalid(number, str(error)) from error
        yield item_of(number, row)


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


def _of_completion(line: int, stored: StoredCompletion) -> Item:
    """Return the request and the answer of a stored completion as the row of a training file.

    It has `input` and `reference` also if no training file may hold the messages, such as calls of tools.
    """
    answer = stored.answer["choices"][0]["message"]
    asked = [_without_absent(message) for message in stored.request["messages"]]
    made = item_of(line, {"item": {"messages": [*asked, _without_absent(answer)]}})
    return replace(made, item={"input": asked, "reference": answer.get("content") or "", **made.item})


def _without_absent(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if value not in (None, [])}
