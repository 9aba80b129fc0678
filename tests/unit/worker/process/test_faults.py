"""Which faults are the job's own, and which are those of its surroundings."""

import errno

import pytest
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError
from safetensors import SafetensorError
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from tokenizers import Tokenizer
from tokenizers.models import BPE

from core.errors import OutsideFault
from worker.process.faults import outside_fault

REFUSED = ClientError({"Error": {"Code": "SlowDown"}}, "UploadPart")


def upload_failed() -> Exception:
    """An error as boto3 raises it: the store's answer is its context."""
    error = S3UploadFailedError("Failed to upload /a/file to a-bucket/key")
    error.__context__ = REFUSED
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (S3UploadFailedError("nothing came"), "The object store did not answer (S3UploadFailedError)"),
        (REFUSED, "The object store refused UploadPart (SlowDown)"),
        (upload_failed(), "The object store refused UploadPart (SlowDown)"),
        (OperationalError("SELECT 1", {}, Exception()), "The database did not answer (OperationalError)"),
        (PoolTimeoutError(), "The database did not answer (TimeoutError)"),
        (TimeoutError(), "did not answer"),
        (OutsideFault("The hub did not answer"), "The hub did not answer"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk failed (No space left on device)"),
        (SafetensorError("I/O error: Input/output error (os error 5)"), "disk failed (Input/output error)"),
    ],
)
def test_a_fault_of_what_the_job_needs_requeues_it(error: Exception, reason: str) -> None:
    assert reason in (outside_fault(error) or "")


def test_a_full_disk_is_known_where_a_library_in_rust_writes_to_it() -> None:
    with pytest.raises(Exception, match="No space") as raised:
        Tokenizer(BPE()).save("/dev/full")
    assert not isinstance(raised.value, OSError)
    assert outside_fault(raised.value) == "The trainer's disk failed (No space left on device)"


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("tokenizer.json"),
        FileExistsError("in the way"),
        SafetensorError("I/O error: No such file or directory (os error 2)"),
        ValueError("a bug"),
        *(refusal("SELECT 1", {}, Exception()) for refusal in (DataError, IntegrityError, ProgrammingError)),
    ],
)
def test_what_no_other_try_can_mend_is_no_outside_fault(error: Exception) -> None:
    assert outside_fault(error) is None
