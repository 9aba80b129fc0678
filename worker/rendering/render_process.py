"""The process that renders beside a trainer, `python -m worker.rendering.render_process`.

Its imports and a tokenizer take a second, so it is kept as long as its trainer. For each file it forks a
child, which renders the file and ends. Children share the cores fairly, so a small file is not held up by a
large one. A child gives way to the training, and if memory runs out, it is killed before the trainer is.

Its standard input is a socket to the trainer. A message is the folder of a tokenizer, or says that the child
needs none. Two files come with it: the child's channel to the trainer, and the file to render. The process
ends with this socket, and a child with its channel. Without a file, the child renders single rows that come
through its channel (`worker/rendering/previews.py`), or prompts (`calls.py`). Servers and checks of datasets
have such a process too. Where a server previews a file, a child looks for the wanted rows (`finding.py`).
"""

import gc
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from io import FileIO
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import Any, TypeVar

if __name__ == "__main__":
    # transformers would import torch, which takes a second and 150 MB, and which tokenizers do not need
    sys.modules["torch"] = None  # type: ignore[assignment]

from transformers import AutoTokenizer

from core.datasets.check import read_rows
from core.errors import JobError, TuneryError
from worker.process.priority import put_behind
from worker.rendering.calls import answer_calls
from worker.rendering.companions import with_companions
from worker.rendering.data_check import DataCheck
from worker.rendering.disk_space import require_disk_space
from worker.rendering.finding import found_in
from worker.rendering.fingerprint import Fingerprint
from worker.rendering.images import FileImages
from worker.rendering.preparation.preparing import Lines, lines_of, prepare
from worker.rendering.previews import answer_looks
from worker.rendering.render import Rendering, conversations_of
from worker.rendering.render_request import (
    NO_TOKENIZER,
    CallsRequest,
    FindRequest,
    PrepareRequest,
    PreviewRequest,
    ReadImage,
    Rendered,
    RenderRequest,
    Request,
)
from worker.rendering.row_limits import limited, timed
from worker.rows.nameless_file import nameless_file
from worker.rows.row import Row
from worker.rows.row_store import BUFFER_BYTES, Summary, store_rows

FOLDER_BYTES = 4096  # the longest name of a folder
CHUNK_BYTES = 256 * 1024
TICK_SECONDS = 0.5
Content = TypeVar("Content")

NICENESS = 5  # a core that training wants too is divided 3 : 1
FIRST_TO_BE_KILLED = 500  # before the trainer


def main() -> None:
    """Fork a child for each message, until the trainer ends."""
    line = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    for number in (signal.SIGINT, signal.SIGTERM):  # the trainer decides when to end
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children leave no zombies
    gc.collect()
    gc.freeze()  # otherwise a collection in a child would copy the pages of all objects that it visits
    while True:
        folder, files, _, _ = socket.recv_fds(line, FOLDER_BYTES, 2)
        if not folder:
            return
        if folder.decode() != NO_TOKENIZER:
            with suppress(Exception):  # if it fails here, it fails in the child too, which says so
                _tokenizer_in(folder.decode())
        if os.fork() == 0:
            line.close()
            _render_and_end(folder.decode(), *files)
        for file in files:
            os.close(file)


@lru_cache(maxsize=1)
def _tokenizer_in(folder: str) -> Any:
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def _render_and_end(folder: str, channel_number: int, file_number: int = -1) -> None:
    """Be a child: do what the request says, and end the process."""
    channel = Connection(channel_number)
    try:
        threading.Thread(target=_end_with, args=(channel,), daemon=True).start()
        request: Request = channel.recv()
        niceness = 0 if isinstance(request, CallsRequest) else NICENESS  # a chat waits for its prompt
        put_behind(os.getpid(), niceness, FIRST_TO_BE_KILLED)
        match request:
            case PreviewRequest():
                answer_looks(channel, _tokenizer_in(folder), request)
            case CallsRequest():
                answer_calls(channel, _tokenizer_in(folder), request)
            case FindRequest():
                channel.send(found_in(FileIO(file_number), request))
            case PrepareRequest():
                _prepare(channel, FileIO(file_number), request)
            case RenderRequest():
                _render(channel, folder, FileIO(file_number), request)
    except (EOFError, BrokenPipeError):
        return
    except (TuneryError, OSError) as error:
        channel.send(error)
    except Exception:
        channel.send(RuntimeError(traceback.format_exc()))
    finally:
        os._exit(0)


def _end_with(channel: Connection) -> None:
    """End the process when the trainer closes the channel: the job has left, or the trainer has ended."""
    closed = select.poll()
    closed.register(channel.fileno(), 0)  # nothing but the end: messages are for the main thread
    closed.poll()
    os._exit(0)


def _render(channel: Connection, folder: str, file: FileIO, request: RenderRequest) -> None:
    images = FileImages(Path(folder)) if request.reads_images else None
    rendering = Rendering(
        _tokenizer_in(folder), request.max_length, request.param, request.kind, request.invocation, images
    )
    lines = _reported(channel, _rows_of(file), request)
    lines = limited(lines, request.param, request.row_seconds, request.row_bytes)
    check = DataCheck(request) if request.is_checked else None
    rows = _within(request, rendering.render(check.over(lines) if check else lines))
    if request.companions_seed is not None:
        rendered = store_rows(rows, request.folder)
        rows = with_companions(rendered, request.companions_seed, request.max_length)
    fingerprint = Fingerprint(request.fingerprint)
    store = store_rows(fingerprint.over(rows), request.folder, request.invocation)
    if images:
        fingerprint.add(images.digest)
    channel.send(_result(store.summary, fingerprint.value, rendering, check, images))
    for part in store.files:
        send_handle(channel, part.fileno(), None)
    if images:
        _send(channel, images, file, request)


def _rows_of(file: FileIO) -> Iterator[tuple[int, dict[str, Any]]]:
    file.seek(0)  # somebody may have read some of it
    return read_rows(iter(lambda: file.read(CHUNK_BYTES), b""))


def _send(channel: Connection, images: FileImages, file: FileIO, request: RenderRequest) -> None:
    """Send the images as the model's tower reads them, as fast as the trainer takes them."""
    conversations = (
        messages for _, row in _rows_of(file) for messages, _ in conversations_of(row, request.kind)
    )
    for first, arrays in images.arrays(conversations):
        channel.send(ReadImage(first, arrays))


def _result(
    summary: Summary,
    fingerprint: str,
    rendering: Rendering,
    check: DataCheck | None,
    images: FileImages | None,
) -> Rendered:
    result = Rendered(summary, fingerprint, rendering.warnings())
    if images is not None:
        result = replace(result, images=images.summary)
    if check is None:
        return result
    findings = check.findings(rendering)
    return replace(result, findings=findings, checked_rows=None if check.compares else check.rows)


def _prepare(channel: Connection, file: FileIO, request: PrepareRequest) -> None:
    too_slow = JobError(
        "rows_not_prepared",
        f"to prepare the row takes more than {request.row_seconds} s. Shorten it, or leave some kinds of "
        "variants out.",
        request.param,
    )

    def read() -> Lines:
        file.seek(0)
        lines = lines_of(iter(lambda: file.read(CHUNK_BYTES), b""))
        return timed(_reported(channel, lines, request), request.row_seconds, too_slow)

    training, held = (nameless_file(request.folder) for _ in range(2))
    with (
        open(training.fileno(), "wb", BUFFER_BYTES, closefd=False) as to_training,
        open(held.fileno(), "wb", BUFFER_BYTES, closefd=False) as to_held,
    ):
        prepared = prepare(read, request.kind, request.asked, request.seed, to_training, to_held)
    channel.send(prepared)
    for part in (training, held):
        send_handle(channel, part.fileno(), None)


def _reported(
    channel: Connection, lines: Iterable[tuple[int, Content]], request: RenderRequest | PrepareRequest
) -> Iterator[tuple[int, Content]]:
    """Yield the lines. Now and then, tell the trainer how many there were, and look at the disk."""
    due = 0.0
    for count, line in enumerate(lines):
        if (now := time.monotonic()) >= due:
            due = now + TICK_SECONDS
            channel.send(count)
            require_disk_space(request.folder, request.param)
        yield line


def _within(request: RenderRequest, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows. Raises JobError as soon as they have more tokens than allowed."""
    tokens = 0
    for row in rows:
        tokens += len(row.tokens_L)
        if tokens > request.max_tokens:
            raise JobError(
                "too_many_tokens",
                f"Up to line {row.line}, the file has more than {request.max_tokens:,} tokens, which is the "
                "most that this server reads. Use a part of the file. For a job, a lower "
                "'training.max_length' helps too.",
                request.param,
            )
        yield row


if __name__ == "__main__":
    main()
