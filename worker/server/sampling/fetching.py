"""Fetches an adapter for a client that waits, and says what goes wrong as an error for that client."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from core.errors import Unavailable
from core.serving.errors import AdapterDamaged
from core.serving.served_model import StoredAdapter
from core.storage.file_names import DamagedFile
from core.storage.folders import fetch_folder
from core.storage.object_store import STORE_ERRORS, ObjectStore
from worker.engine.sampler.adapters.check import AdapterRefused
from worker.process.faults import disk_fault

log = structlog.get_logger()


def fetch(store: ObjectStore, stored: StoredAdapter, folder: Path) -> None:
    """Download the adapter's files, and compare the hash of each one with the published one."""
    fetch_folder(store, stored.prefix, [file.model_dump() for file in stored.files], folder)


@contextmanager
def errors_explained(stored: StoredAdapter) -> Iterator[None]:
    """Raise AdapterDamaged and Unavailable for what the block raises."""
    try:
        yield
    except STORE_ERRORS as error:
        log.warning("adapter_not_fetched", prefix=stored.prefix, error=str(error))
        raise Unavailable("The object store cannot be reached at the moment. Try again.") from error
    except (DamagedFile, AdapterRefused) as error:
        log.error("adapter_damaged", prefix=stored.prefix, error=str(error))
        reason = str(error).rstrip(".")
        raise AdapterDamaged(f"The adapter of this model cannot be used: {reason}.") from error
    except OSError as error:
        if not disk_fault(error):
            raise
        log.error("adapter_not_written", error=str(error))
        raise Unavailable("The server's disk failed while it fetched the adapter.") from error
