"""Decides whose fault an error is: the job's own, or that of a server or disk that every job needs."""

import errno
import os
import re

from sqlalchemy.exc import SQLAlchemyError

from core.errors import OutsideFault
from core.storage.object_store import STORE_ERRORS

SERVER_ERRORS = (SQLAlchemyError, *STORE_ERRORS, ConnectionError, TimeoutError)
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
QUOTED_ERRNO = re.compile(r"\(os error (\d+)\)")


def outside_fault(error: Exception) -> str | None:
    """Return a sentence about an outside fault, or None if the error is the job's or Tunery's own fault."""
    if isinstance(error, OutsideFault):
        return str(error)
    if isinstance(error, SERVER_ERRORS):
        return f"A server that the trainer needs did not answer ({type(error).__name__})"
    fault = disk_fault(error)
    return fault and f"The trainer's disk failed ({fault})"


def disk_fault(error: Exception) -> str | None:
    """Return the operating system's message about a fault of the disk, or None if `error` is another error.

    Libraries written in Rust (safetensors, tokenizers) raise no OSError, but their messages quote its number.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (quoted := QUOTED_ERRNO.search(str(error))):
        number = int(quoted[1])
    return os.strerror(number) if number in DISK_ERRORS else None
