"""What a server fetches in threads: from the object store, and of base models. The event loop waits."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import structlog

from core.errors import JobError, OutsideFault, Unavailable
from core.settings import Settings
from core.storage.object_store import STORE_ERRORS, ObjectStore
from worker.server.errors import ModelUnavailable
from worker.server.threads import in_daemon_thread


class Patience(NamedTuple):
    """The seconds for which a try waits for the store's answer, and how many tries follow the first."""

    timeout: float
    retries: int


FOR_ANSWERS = Patience(10.0, 1)  # a client waits for its first token, and many may wait at once
FOR_FILES = Patience(30.0, 2)  # a preview has limits of its own, and few run at once

Result = TypeVar("Result")

log = structlog.get_logger()


def open_store(settings: Settings, patience: Patience) -> ObjectStore:
    """Return a client of the store that gives up early."""
    endpoint, bucket = settings.server("s3_endpoint_url"), settings.server("s3_bucket")
    return ObjectStore(endpoint, bucket, retries=patience.retries, timeout=patience.timeout)


async def in_store_thread(work: Callable[[], Result]) -> Result:
    """Do work that asks the store, and return its result. Raises what it raises, and Unavailable."""
    try:
        return await in_daemon_thread(work, "store")
    except STORE_ERRORS as error:
        log.warning("store_failed", error=str(error))
        raise Unavailable("The object store cannot be reached at the moment. Try again.") from error


async def in_base_thread(fetch: Callable[[], Result]) -> Result:
    """Fetch parts of a base model that are not on the disk. Raises ModelUnavailable and Unavailable."""
    try:
        return await in_daemon_thread(fetch, "base model")
    except JobError as error:
        raise ModelUnavailable(str(error)) from error
    except OutsideFault as error:
        raise Unavailable(f"{error}. Try again later.") from error
