"""Runs an import in a process of its own. Every call limits the process while the file is read.

This module is light, because the server imports it too. The process imports the rest when it is called.
"""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from core.catalog import BaseModelEntry
from core.errors import InvalidRequest
from core.serving.imports import ImportOrder

COPIES = 4  # of the adapter that may be in memory at once
MORE_BYTES = 1024**3


def import_apart(
    order: ImportOrder, entry: BaseModelEntry, base: Path, base_sha256: str, work: Path, max_bytes: int
) -> dict[str, Any]:
    """Return what `import_file` returns.

    Raises InvalidRequest as it does, and also if the file takes too much memory.
    """
    _prepare_process()
    importing = import_module("worker.tasks.importing.importing")
    with _limited(COPIES * max_bytes + MORE_BYTES):
        try:
            done: dict[str, Any] = importing.import_file(order, entry, base, base_sha256, work, max_bytes)
            return done
        except MemoryError:
            too_much = True
        except RuntimeError as error:  # torch's allocator raises no MemoryError
            too_much = "alloc" in str(error)
            if not too_much:
                raise
        raise InvalidRequest(
            "The file takes too much memory to be read. Save the adapter as safetensors, without other "
            "tensors.",
            code="adapter_too_large",
            param="file",
        )


@cache
def _prepare_process() -> None:
    """Drop the server's secrets from the environment, and ignore Ctrl-C. Import first what reads it."""
    import_module("worker.tasks.importing.importing")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    os.environ.clear()
    os.environ.update(kept)


@contextmanager
def _limited(more: int) -> Iterator[None]:
    """Bound the memory that the process may take in the block beside what it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = psutil.Process().memory_info().vms + more
    resource.setrlimit(
        resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
