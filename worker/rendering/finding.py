"""Finds rows of a file of any format by their numbers, in a process that may die of the file."""

from collections.abc import Iterator
from io import FileIO

from core.datasets.findings import Finding
from core.datasets.formats.reading import NumberedBy, open_dataset
from core.datasets.formats.unreadable import TOO_MUCH_MEMORY, Unreadable
from core.datasets.row_check import RowCheck
from core.errors import JobError
from core.serving.previews import RowError
from worker.process.limits import limit_memory, limit_time
from worker.rendering.render_request import FindRequest, Found

CHUNK_BYTES = 256 * 1024


def found_in(source: FileIO, request: FindRequest) -> Found:
    """Read the file up to the last wanted row, and return the wanted ones.

    Raises JobError if it cannot be read, or takes too much memory.
    """
    limit_memory(request.more_bytes)
    limit_time(request.seconds)
    try:
        return _found(iter(lambda: source.read(CHUNK_BYTES), b""), request)
    except Unreadable as error:
        raise JobError(error.code, f"The file cannot be read: {error.prefix}{error}.") from error
    except MemoryError as error:
        raise JobError("too_much_memory", TOO_MUCH_MEMORY) from error


def _found(chunks: Iterator[bytes], request: FindRequest) -> Found:
    check = RowCheck()
    check.kind = request.kind
    wanted = set(request.numbers)
    dataset = open_dataset(chunks, request.most_bytes, request.most_row_bytes)
    numbered_by = dataset.format.numbered_by
    rows: dict[int, bytes | RowError] = {
        number: RowError(code="no_such_line", message=_missing(numbered_by, number)) for number in wanted
    }
    for number, row in dataset.rows:
        if number in wanted or check.kind is None:  # a row before the wanted ones may show the kind
            result = _checked(check, row)
            if number in wanted:
                rows[number] = result
        if number >= max(wanted):
            break
    return Found(check.kind or "chat", numbered_by, rows)


def _checked(check: RowCheck, row: bytes | Finding) -> bytes | RowError:
    findings = [row] if isinstance(row, Finding) else check.findings(row)
    if findings or isinstance(row, Finding):
        found = findings[0]
        field = f"{found.field}: " if found.field else ""
        return RowError(code=found.code, message=f"No job takes the row: {field}{found.message}")
    return row


def _missing(numbered_by: NumberedBy, number: int) -> str:
    return (
        f"The file has no row on line {number}."
        if numbered_by == "line"
        else f"The file has no row {number}."
    )
