"""Starts the process that renders beside a trainer, and has it render files."""

import socket
import subprocess
import sys
import threading
from io import FileIO
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import structlog

from worker.process.without_secrets import without_secrets
from worker.rendering.render_request import (
    NO_TOKENIZER,
    CallsRequest,
    FindRequest,
    PrepareRequest,
    PreviewRequest,
    RenderRequest,
    Request,
)

ENVIRONMENT = {
    # Rows are tokenized one by one, and threads of the tokenizer would not survive the forks
    "TOKENIZERS_PARALLELISM": "false",
    # Two files of a job are compared by hashes, also if the process died between them
    "PYTHONHASHSEED": "0",
}

PASSED_ON = ("HF_HUB_DISABLE_TELEMETRY", "PYTHONPATH", "TRANSFORMERS_VERBOSITY")

log = structlog.get_logger()


class Renderer:
    """The process that renders (`worker/rendering/render_process.py`). Any thread may call the methods.

    The process ends with this object's process, however that one ends. It has no secrets: nobody has checked
    the files, templates and texts that it reads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start()

    def render(self, tokenizer: Path, file: FileIO, request: RenderRequest | PrepareRequest) -> Connection:
        """Begin to render or prepare a file. `tokenizer` is the folder of a tokenizer.

        Return the channel of the result. Through it come the numbers of rows that have been read, and then
        the result or an exception. It ends early if the process dies. Closing the channel ends the rendering.
        """
        return self._begin(tokenizer, request, file)

    def look_at(self, tokenizer: Path, request: PreviewRequest) -> Connection:
        """Begin to render single rows with the tokenizer in a folder. Return the channel of their looks.

        A kind of rows and a list of `(line, row)` go through the channel, and back comes a list of what
        `request` asks for, or an exception. It ends early if the process dies. Closing the channel ends the
        process.
        """
        return self._begin(tokenizer, request)

    def find(self, source: FileIO, request: FindRequest) -> Connection:
        """Begin to look for rows of the file whose bytes come through the pipe `source`.

        Return the channel of the result, as `render` does.
        """
        return self._begin(None, request, source)

    def calls(self, tokenizer: Path, request: CallsRequest) -> Connection:
        """Return the channel through which functions are called with the tokenizer in a folder.

        It ends early if the process dies. Closing the channel ends the process.
        """
        return self._begin(tokenizer, request)

    def _begin(self, tokenizer: Path | None, request: Request, *files: FileIO) -> Connection:
        ours, its = Pipe()
        with its, self._lock:
            if self._process.poll() is not None:
                log.warning("render_process_died", status=self._process.returncode)
                self._line.close()
                self._start()
            socket.send_fds(
                self._line,
                [str(tokenizer or NO_TOKENIZER).encode()],
                [its.fileno(), *(file.fileno() for file in files)],
            )
        ours.send(request)
        return ours

    def close(self) -> None:
        """End the process. Files that it is rendering are still rendered."""
        self._line.close()
        self._process.wait()

    def _start(self) -> None:
        self._line, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker.rendering.render_process"],
                stdin=its.fileno(),
                env={**without_secrets(*PASSED_ON), **ENVIRONMENT},
            )
