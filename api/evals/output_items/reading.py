"""Reads the records of a run from its files: only the files that are needed, a line at a time."""

from collections import deque
from collections.abc import Collection, Iterator
from itertools import chain
from typing import NamedTuple

from api.http.downloads import stored_bytes
from api.http.paging import PAGE_BYTES
from core.evals.results import ItemStatus, Record, RunReport, file_of
from core.storage.object_store import ObjectStore
from core.tables import Task


class Wanted(NamedTuple):
    """A page of records: at most `limit` beyond the index `after`, with this status if it is set."""

    after: int | None
    limit: int
    newest_first: bool
    status: ItemStatus | None


class _Read(NamedTuple):
    record: Record
    bytes: int


def read_page(store: ObjectStore, run: Task, wanted: Wanted) -> tuple[list[Record], bool]:
    """Return a page of records, and whether more follow. A run that has no files yet has no records.

    The page ends before it has more than PAGE_BYTES, but not before its first record. Raises NotFound if the
    store has lost a file.
    """
    found: list[Record] = []
    size = 0
    for record, length in _beyond(store, run, wanted):
        size += length
        if len(found) == wanted.limit or (found and size > PAGE_BYTES):
            return found, True
        found.append(record)
    return found, False


def read_each(store: ObjectStore, run: Task, indexes: Collection[int]) -> dict[int, Record]:
    """Return the records of these rows by their indexes, without those that the run does not have.

    Each file is read once. Raises NotFound if the store has lost a file.
    """
    names = sorted({file_of(index) for index in indexes} & _names(run))
    lines = chain.from_iterable(lines_of(store, run, name) for name in names)
    records = (_read(line).record for line in lines)
    return {record.index: record for record in records if record.index in indexes}


def _beyond(store: ObjectStore, run: Task, wanted: Wanted) -> Iterator[_Read]:
    """Yield the wanted records in their order, and go on until the caller has enough."""
    names, after = sorted(_names(run, wanted.status), reverse=wanted.newest_first), wanted.after
    first = None if after is None else file_of(after)
    for name in names:
        if first is not None and (name > first if wanted.newest_first else name < first):
            continue
        reads = (read for read in map(_read, lines_of(store, run, name)) if _is_wanted(read.record, wanted))
        yield from _last(reads, wanted.limit) if wanted.newest_first else reads


def _last(reads: Iterator[_Read], limit: int) -> Iterator[_Read]:
    """Return the last records of a file, the last one first: as many as a page can have, and one more."""
    kept: deque[_Read] = deque()
    size = 0
    for read in reads:
        kept.append(read)
        size += read.bytes
        while len(kept) > limit + 1 or (len(kept) > 2 and size - kept[0].bytes > PAGE_BYTES):
            size -= kept.popleft().bytes
    return reversed(kept)


def _is_wanted(record: Record, wanted: Wanted) -> bool:
    if wanted.status is not None and record.status != wanted.status:
        return False
    if wanted.after is None:
        return True
    return record.index < wanted.after if wanted.newest_first else record.index > wanted.after


def lines_of(store: ObjectStore, run: Task, name: str) -> Iterator[bytes]:
    """Yield the records of a file as JSON. Only a chunk and a line of it are in memory.

    Raises NotFound if the store has lost the file.
    """
    rest = b""
    for chunk in stored_bytes(store, f"{run.object_prefix}{name}", name):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _read(line: bytes) -> _Read:
    return _Read(Record.model_validate_json(line), len(line))


def _names(run: Task, status: ItemStatus | None = None) -> set[str]:
    """Return the names of the run's files, without those that are known to have no record of a status."""
    names = {file["name"] for file in run.files}
    if status is None or run.report is None:
        return names
    counts = RunReport.model_validate(run.report).by_file
    return {name for name in names if status in counts.get(name, ())}
