"""A job's file as rendered rows, with what was done to them told to the client."""

from collections.abc import Callable, Iterator
from typing import Any

from core.datasets.check import read_rows
from core.errors import JobError, LeaseLost
from core.models import File
from core.storage import ObjectStore
from worker.data.render import Rendered, render
from worker.engine.base_model import ResidentBase
from worker.reporter import Reporter

LISTED_LINES = 10


def read_file(
    file: File,
    param: str,
    max_length: int,
    base: ResidentBase,
    store: ObjectStore,
    reporter: Reporter,
    gone: Callable[[], bool],
) -> Rendered:
    """Download and render `file`, which the request's field `param` named.

    Raises JobError, and LeaseLost as soon as `gone` says that nobody waits for the rows any more.
    """
    try:
        stream = store.read(file.object_key)
    except FileNotFoundError as error:
        raise JobError("file_not_found", f"The content of {file.id} is gone.", param) from error
    rendered = render(base.tokenizer, _until(gone, read_rows(stream)), max_length, param)
    for lines, what in (
        (rendered.cut, f"are longer than {max_length} tokens and were cut"),
        (rendered.left_out, "keep nothing to learn and were left out"),
    ):
        if lines:
            reporter.event(f"{param}: {_listed(lines)} {what}", level="warn", data={"lines": lines})
    return rendered


def _until(
    gone: Callable[[], bool], rows: Iterator[tuple[int, dict[str, Any]]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    for row in rows:
        if gone():
            raise LeaseLost("the job has left while its rows were read")
        yield row


def _listed(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:LISTED_LINES]))
    more = f" and {len(lines) - LISTED_LINES} more" if len(lines) > LISTED_LINES else ""
    return f"line{'s' if len(lines) > 1 else ''} {shown}{more}"
