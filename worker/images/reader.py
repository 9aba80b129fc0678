"""Starts the process that reads images for one base model, and asks it."""

import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path

from core.images.parts import UnusableImage, too_costly
from worker.images.inputs import Detail, ImageInputs, Order, Placeholders
from worker.process.without_secrets import without_secrets

PROGRAM = "worker.images.image_process"
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
PASSED_ON = ("GOMP_SPINCOUNT", "HF_HUB_DISABLE_TELEMETRY", "PYTHONPATH", "TRANSFORMERS_VERBOSITY")


class NoImageProcessor(OSError):
    """A base model's folder has no processor of images that can be loaded."""


def has_processor(folder: Path) -> bool:
    """Return whether a base model's folder has a processor. It may be one of sounds."""
    return any((folder / file).exists() for file in PROCESSOR_FILES)


class ImageReader:
    """The process that reads images with the processor in a base model's folder. One thread uses it.

    It starts when it is first asked, and again after an image has ended it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._placeholders: Placeholders | None = None

    @property
    def placeholders(self) -> Placeholders:
        """How the base model marks images. Raises NoImageProcessor."""
        if self._placeholders is None:
            self._start()
        assert self._placeholders is not None, "a process begins with them"
        return self._placeholders

    def read(self, content: bytes, detail: Detail, wants_arrays: bool) -> ImageInputs:
        """Return what the base model reads of an image.

        Raises UnusableImage if it cannot be read, and NoImageProcessor.
        """
        if self._process is None:
            self._start()
        try:
            self._channel.send(Order(content, detail, wants_arrays))
            found = self._channel.recv()
        except (EOFError, ConnectionError) as error:
            self.close()
            raise too_costly() from error
        if isinstance(found, UnusableImage):
            raise found
        assert isinstance(found, ImageInputs)
        return found

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is None:
            return
        self._channel.close()
        self._process.kill()
        self._process.wait()
        self._process = None

    def _start(self) -> None:
        self._channel, its = Pipe()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, str(self._folder), str(its.fileno())],
                pass_fds=[its.fileno()],
                env=without_secrets(*PASSED_ON),
            )
        try:
            self._placeholders = self._channel.recv()
        except EOFError as error:
            self.close()
            raise NoImageProcessor(f"{self._folder} has no processor of images") from error
