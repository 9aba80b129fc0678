"""Has a process with limits find rows of a file: this process passes the bytes on, and reads none of them."""

import os
import select
from collections.abc import Iterator
from io import FileIO
from multiprocessing.connection import Connection

from core.datasets.formats.unreadable import TOO_MUCH_MEMORY
from core.errors import InvalidRequest, JobError
from worker.rendering.render_request import FindRequest, Found
from worker.rendering.renderer import Renderer
from worker.server.threads import LOOK_SECONDS, Until


def find_rows(renderer: Renderer, chunks: Iterator[bytes], request: FindRequest, until: Until) -> Found:
    """Return the wanted rows. Raises InvalidRequest, also if finding them takes too much time or memory."""
    its_end, our_end = os.pipe()
    with FileIO(our_end, "wb") as pipe:
        with FileIO(its_end) as source:
            channel = renderer.find(source, request)
        with channel:
            return _answered(channel, pipe, chunks, request, until)


def _answered(
    channel: Connection, pipe: FileIO, chunks: Iterator[bytes], request: FindRequest, until: Until
) -> Found:
    """Send the file through the pipe until the rows are found."""
    try:
        if _send(chunks, pipe, channel, until):
            pipe.close()
        found = channel.recv() if until.wait(channel) else None
    except (EOFError, ConnectionError) as error:
        raise InvalidRequest(TOO_MUCH_MEMORY, code="too_much_memory", param="file_id") from error
    match found:
        case Found():
            return found
        case None:
            raise InvalidRequest(
                f"The rows up to number {max(request.numbers)} take longer than {until.seconds:g} s to read. "
                "Ask for earlier rows.",
                code="line_too_far",
                param="lines",
            )
        case JobError():
            raise InvalidRequest(found.message, code=found.code, param="file_id")
        case error:
            raise error


def _send(chunks: Iterator[bytes], pipe: FileIO, channel: Connection, until: Until) -> bool:
    """Send the chunks, for as long as nothing comes through the channel. Return whether all are sent."""
    os.set_blocking(pipe.fileno(), False)
    ready = select.poll()
    ready.register(channel.fileno(), select.POLLIN)
    ready.register(pipe.fileno(), select.POLLOUT)
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            if until.left <= 0:
                return False
            events = dict(ready.poll(1000 * LOOK_SECONDS))
            if channel.fileno() in events:
                return False
            try:
                rest = rest[os.write(pipe.fileno(), rest) if events else 0 :]
            except BrokenPipeError:
                return False
    return True
