"""A job's file as rendered rows, with what was done to them told to the client."""

from collections.abc import Callable

from core.errors import LeaseLost
from core.models import File
from core.storage import ObjectStore
from worker.data.render import Rendered, render
from worker.data.stored import stored_rows
from worker.engine.base_model import ResidentBase
from worker.reporter import Reporter


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

    def look_up() -> None:
        if gone():
            raise LeaseLost("the job has left while its rows were read")

    rendered = render(base.tokenizer, stored_rows(store, file, param), max_length, param, look_up)
    for message, data in rendered.warnings(param, max_length):
        reporter.event(message, level="warn", data=data)
    return rendered
