"""Which faults are not the job's own, and when the next job may be taken after one of them."""

import errno
import tempfile
import time
from pathlib import Path

import pytest
from boto3.exceptions import S3UploadFailedError
from safetensors import SafetensorError
from sqlalchemy.exc import OperationalError
from tokenizers import Tokenizer
from tokenizers.models import BPE

from core.errors import OutsideFault
from core.storage.object_store import ObjectStore
from tests.fixtures.api import wait_for
from tests.fixtures.endpoint import Endpoint
from worker.process.faults import outside_fault
from worker.train.server_probe import ServerProbe


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (S3UploadFailedError("SlowDown"), "did not answer"),
        (OperationalError("SELECT 1", {}, Exception()), "did not answer"),
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
    ],
)
def test_what_no_other_try_can_mend_is_no_outside_fault(error: Exception) -> None:
    assert outside_fault(error) is None


def test_no_job_is_taken_into_an_outage_that_was_there_at_the_start(endpoint: Endpoint) -> None:
    endpoint.put_status = 507
    server_probe = ServerProbe(ObjectStore(endpoint.url, "bucket"), pause=0.05)
    assert not server_probe.allow_a_job()
    endpoint.put_status = 200
    wait_for(server_probe.allow_a_job)


def test_an_outage_that_lasts_is_looked_at_less_and_less_often(endpoint: Endpoint) -> None:
    """The jobs that train wait for each test of the store."""
    endpoint.put_status = 507
    server_probe = ServerProbe(ObjectStore(endpoint.url, "bucket"), pause=0.1)
    began = time.monotonic()
    wait_for(lambda: not server_probe.allow_a_job() and len(endpoint.requests) == 4)
    assert time.monotonic() - began >= 0.1 + 0.2 + 0.4


def test_after_a_fault_no_job_is_taken_before_a_pause_and_a_write(endpoint: Endpoint) -> None:
    server_probe = ServerProbe(ObjectStore(endpoint.url, "bucket"), pause=0.05)
    assert server_probe.allow_a_job()
    server_probe.note_fault()
    assert not server_probe.allow_a_job()
    probes = len(endpoint.requests)
    wait_for(server_probe.allow_a_job)
    assert len(endpoint.requests) > probes


def test_no_job_is_taken_while_the_disk_is_full(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert not ServerProbe(ObjectStore(endpoint.url, "bucket"), pause=60).allow_a_job()
