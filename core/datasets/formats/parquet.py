"""Reads Parquet files row by row, a part of a row group at a time.

Whoever wrote the file wrote its footer too, so what it says of sizes is checked before anything is read, and
texts stay in the file's dictionaries until a row is short enough. Only a worker's process imports this
module.
"""

from collections.abc import Callable, Iterator
from tempfile import TemporaryFile
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.datasets.findings import Finding
from core.datasets.formats.unreadable import Unreadable

ROWS_AT_ONCE = 256
OBJECT_BYTES = 8  # of a reference to a value
MOST_LEAVES = 2000  # columns, with those inside of columns
MOST_VALUES = 16_000_000  # of a column in one row group, a few hundred MB; nulls take no space in the file
MOST_LIST_VALUES = 4 * MOST_VALUES  # of all lists in one row group, since one row may have all of them
LONGEST_NAME, MOST_NAMES = 16 * 1024**2, 200_000  # bytes of a text in the footer, entries of a list in it

Value = Any
NumberedRow = tuple[int, dict[str, Any] | Finding]


def parquet_rows(
    chunks: Iterator[bytes],
    max_bytes: int,
    max_row_bytes: int,
    wanted: frozenset[str],
    needs_all: Callable[[dict[str, Any]], bool],
) -> Iterator[NumberedRow]:
    """Yield the number of each row and its values in the `wanted` columns. Raises Unreadable.

    If the first row `needs_all` columns, all of them are read.
    Values that are null are left out, also inside of values: columns have all keys that any row has.
    """
    with TemporaryFile() as file:  # the footer, which says where everything is, comes last
        for chunk in chunks:
            file.write(chunk)
        try:
            columns = _columns(file, max_bytes, max_row_bytes, wanted, needs_all)
            yield from _rows(file, max_bytes, max_row_bytes, columns)
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault
            raise Unreadable(
                "damaged_parquet", f"the file is damaged Parquet ({_reason(error)}); write it again"
            ) from error


def _columns(
    file: IO[bytes],
    max_bytes: int,
    max_row_bytes: int,
    wanted: frozenset[str],
    needs_all: Callable[[dict[str, Any]], bool],
) -> list[str]:
    """Return the names of the columns to read. Raises Unreadable if they could fill the memory."""
    opened = _open(file)
    names = opened.schema_arrow.names
    columns = [name for name in names if name in wanted]
    if not columns:
        shown = ", ".join(map(repr, names[:20]))[:200]
        raise Unreadable("unknown_format", f"none of the file's columns ({shown}) is known")
    _refuse_bombs(opened.metadata, max_bytes)
    _refuse_long_lists(opened, frozenset(columns))
    if len(columns) < len(names):
        _, first = next(_rows(file, max_bytes, max_row_bytes, columns), (0, {}))
        if isinstance(first, dict) and needs_all(first):
            _refuse_long_lists(opened, frozenset(names))
            return list(names)
    return columns


def _rows(file: IO[bytes], max_bytes: int, max_row_bytes: int, columns: list[str]) -> Iterator[NumberedRow]:
    opened = _open(file)
    texts = [leaf.path for leaf in _leaves(opened) if leaf.physical_type == "BYTE_ARRAY"]
    number = expanded = 0
    for batch in _open(file, read_dictionary=texts).iter_batches(ROWS_AT_ONCE, columns=columns):
        weight = _weight(batch.to_struct_array())
        is_large = weight > max_row_bytes
        expanded += 0 if is_large else weight
        for index in range(batch.num_rows):
            number += 1
            weight = _weight(batch.slice(index, 1).to_struct_array()) if is_large else 0
            if weight > max_row_bytes:
                message = f"the row is longer than {max_row_bytes:,} bytes; shorten or split it"
                yield number, Finding("", "row_too_long", message)
                continue
            expanded += weight
            if expanded > max_bytes:  # a text that many rows share is in the file once
                raise _too_large(max_bytes)
            yield number, _row(batch, index)


def _open(file: IO[bytes], **options: Any) -> pq.ParquetFile:
    file.seek(0)
    return pq.ParquetFile(
        file,
        pre_buffer=False,
        thrift_string_size_limit=LONGEST_NAME,
        thrift_container_size_limit=MOST_NAMES,
        **options,
    )


def _leaves(opened: pq.ParquetFile) -> list[pq.ColumnSchema]:
    return [opened.schema.column(position) for position in range(len(opened.schema.names))]


def _refuse_bombs(footer: pq.FileMetaData, max_bytes: int) -> None:
    """Raise Unreadable if the footer promises more than may be read."""
    if footer.num_columns > MOST_LEAVES:
        message = f"the file has {footer.num_columns:,} columns; keep those that training needs"
        raise Unreadable("too_many_columns", message)
    total = 0
    for group in map(footer.row_group, range(footer.num_row_groups)):
        chunks = [group.column(position) for position in range(footer.num_columns)]
        total += sum(chunk.total_uncompressed_size for chunk in chunks)
        if max(chunk.num_values for chunk in chunks) > MOST_VALUES:
            message = (
                f"a row group has more than {MOST_VALUES:,} values in a column; write smaller row groups"
            )
            raise Unreadable("too_large_expanded", message)
    if total > max_bytes:
        raise _too_large(max_bytes)


def _refuse_long_lists(opened: pq.ParquetFile, wanted: frozenset[str]) -> None:
    """Raise Unreadable if the wanted columns have lists that one row could fill the memory with."""
    lists = [
        position
        for position, leaf in enumerate(_leaves(opened))
        if leaf.max_repetition_level and leaf.path.partition(".")[0] in wanted
    ]
    footer = opened.metadata
    for group in map(footer.row_group, range(footer.num_row_groups)):
        if sum(group.column(position).num_values for position in lists) > MOST_LIST_VALUES:
            message = (
                f"a row group has more than {MOST_LIST_VALUES:,} values in lists; write smaller row groups"
            )
            raise Unreadable("too_large_expanded", message)


def _too_large(max_bytes: int) -> Unreadable:
    message = f"the file expands to more than {max_bytes:,} bytes; split it into several files"
    return Unreadable("too_large_expanded", message)


def _weight(array: pa.Array) -> int:
    """Return the bytes of an array's values once they are objects, about. A text counts each time."""
    kind = array.type
    if pa.types.is_struct(kind):
        return sum(map(_weight, array.flatten()), len(array))
    if pa.types.is_dictionary(kind):
        texts = pc.take(pc.binary_length(array.dictionary), array.indices)
        return (pc.sum(texts).as_py() or 0) + len(array) * OBJECT_BYTES
    if pa.types.is_map(kind):
        return _weight(array.keys) + _weight(array.items)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return len(array) + _weight(array.flatten())
    return int(array.nbytes) + len(array) * OBJECT_BYTES  # nulls have no bytes of their own


def _row(batch: pa.RecordBatch, index: int) -> dict[str, Any] | Finding:
    try:
        found = {
            name: batch.column(position)[index].as_py() for position, name in enumerate(batch.schema.names)
        }
        return dict(_without_nulls(found))
    except UnicodeDecodeError:
        return Finding("", "invalid_utf8", "a text of the row is not UTF-8; write it as UTF-8")


def _without_nulls(value: Value) -> Value:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
