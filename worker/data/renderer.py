"""Starts the process that renders beside a trainer, and has it render files."""

import os
import socket
import subprocess
import sys
import threading
from io import FileIO
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import structlog

from worker.data.render_request import RenderRequest

# Rows are tokenized one by one, and threads of the tokenizer would not survive the forks
ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false"}

log = structlog.get_logger()


class Renderer:
    """The process that renders (`worker/data/render_process.py`). Any thread may call the methods.

    The process ends with this object's process, however that one ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start()

    def render(self, tokenizer: Path, file: FileIO, request: RenderRequest) -> Connection:
        """Begin to render a file with the tokenizer in a folder. Return the channel of the result.

        Through the channel come the numbers of rows that have been read, and then a `Rendered` or an
        exception. It ends early if the process dies. Closing the channel ends the rendering.
        """
        ours, its = Pipe()
        with its, self._lock:
            if self._process.poll() is not None:
                log.warning("render_process_died", status=self._process.returncode)
                self._line.close()
                self._start()
            socket.send_fds(self._line, [str(tokenizer).encode()], [its.fileno(), file.fileno()])
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
                [sys.executable, "-m", "worker.data.render_process"],
                stdin=its.fileno(),
                env={**os.environ, **ENVIRONMENT},
            )
