"""Decides whose fault an error is: the job's own, or that of a server or disk that every job needs."""

import errno
import os
import re

from botocore.exceptions import ClientError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from core.errors import OutsideFault
from core.storage.object_store import STORE_ERRORS

# The database has answered: it refuses the value or the statement, and will refuse it again.
REFUSED_VALUES = (DataError, IntegrityError, ProgrammingError)
SERVER_ERRORS = (SQLAlchemyError, *STORE_ERRORS, ConnectionError, TimeoutError)
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
QUOTED_ERRNO = re.compile(r"\(os error (\d+)\)")


def outside_fault(error: Exception) -> str | None:
    """Return a sentence about an outside fault, or None if the error is the job's or Tunery's own fault."""
    if isinstance(error, OutsideFault):
        return str(error)
    if isinstance(error, STORE_ERRORS):
        return _store_fault(error)
    if isinstance(error, REFUSED_VALUES):
        return None
    if isinstance(error, DBAPIError | PoolTimeoutError):
        return f"The database did not answer ({type(error).__name__})"
    if isinstance(error, ConnectionError | TimeoutError):
        return f"A server that the trainer needs did not answer ({type(error).__name__})"
    fault = disk_fault(error)
    return fault and f"The trainer's disk failed ({fault})"


def _store_fault(error: Exception) -> str:
    """Return a sentence with the store's own code, if the store has answered at all."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ClientError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return f"The object store did not answer ({type(error).__name__})"
    return f"The object store refused {cause.operation_name} ({cause.response['Error']['Code']})"


def disk_fault(error: Exception) -> str | None:
    """Return the operating system's message about a fault of the disk, or None if `error` is another error.

    Libraries written in Rust (safetensors, tokenizers) raise no OSError, but their messages quote its number.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (quoted := QUOTED_ERRNO.search(str(error))):
        number = int(quoted[1])
    return os.strerror(number) if number in DISK_ERRORS else None
