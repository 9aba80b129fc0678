"""When a trainer may take a job after a fault of the store or the disk: once a file like it fits."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.storage.object_store import PART_BYTES, ObjectStore
from faults.picky_store import PickyStore, Refusal
from tests.fixtures.faults.disks import SmallDisk
from tests.fixtures.service.api import Api, wait_for
from worker.trainer.train.server_probe import LEAST_BYTES, ServerProbe

PREFIX = "checkpoints/ftjob-of-this-test/"


@pytest.fixture
def store(api: Api, picky_store: PickyStore) -> ObjectStore:
    return ObjectStore(picky_store.url, api.settings.server("s3_bucket"))


def test_an_outage_that_was_there_at_the_start_lets_no_job_in(
    store: ObjectStore, picky_store: PickyStore
) -> None:
    picky_store.refuses = lambda method, *_: method == "PUT"
    server_probe = ServerProbe(store, pause=0.05)
    wait_for(lambda: not server_probe.allow_a_job() and picky_store.refused)
    picky_store.refuses = lambda *_: False
    wait_for(server_probe.allow_a_job)


@pytest.mark.parametrize(
    "refuses",
    [
        lambda _method, path, _bytes: "partNumber=2" in path,
        lambda method, path, _bytes: method == "POST" and "uploadId=" in path,
        lambda _method, _path, size: size > 1024**2,
        lambda method, path, _bytes: method == "GET" and "list-type" not in path,
    ],
    ids=["second part", "completion", "large body", "reading back"],
)
def test_a_store_that_takes_small_files_alone_lets_no_job_in(
    store: ObjectStore, picky_store: PickyStore, refuses: Refusal
) -> None:
    store.put_bytes(f"{PREFIX}small", b"content")
    picky_store.refuses = refuses
    server_probe = ServerProbe(store, pause=60)
    wait_for(lambda: not server_probe.allow_a_job() and picky_store.refused)
    assert not server_probe.allow_a_job()


def test_the_test_after_a_fault_is_as_large_as_what_could_not_be_saved_and_goes_to_its_place(
    store: ObjectStore, picky_store: PickyStore
) -> None:
    picky_store.refuses = lambda _method, path, _bytes: (
        path.endswith("partNumber=3") or "partNumber=3&" in path
    )
    server_probe = ServerProbe(store, pause=0.05)
    wait_for(server_probe.allow_a_job)
    server_probe.note_fault(2 * PART_BYTES + 1, [PREFIX])
    wait_for(lambda: not server_probe.allow_a_job() and picky_store.refused)
    assert all(f"/{PREFIX}" in path for path in picky_store.refused)
    picky_store.refuses = lambda *_: False
    wait_for(server_probe.allow_a_job)


def test_a_test_leaves_nothing_behind(
    store: ObjectStore, temporary_files_in: Callable[[Path], None], tmp_path: Path
) -> None:
    temporary_files_in(tmp_path)
    before = store.list("checkpoints/.")  # of tests that broke off
    server_probe = ServerProbe(store, pause=60)
    wait_for(server_probe.allow_a_job)
    assert store.list("checkpoints/.") == before
    assert list(tmp_path.iterdir()) == []


def test_an_outage_that_lasts_is_looked_at_less_and_less_often(
    store: ObjectStore, picky_store: PickyStore
) -> None:
    picky_store.refuses = lambda method, path, _bytes: method == "POST" and "uploads" in path
    server_probe = ServerProbe(store, pause=0.1)
    began = time.monotonic()
    wait_for(lambda: not server_probe.allow_a_job() and len(picky_store.refused) == 4)
    assert time.monotonic() - began >= 0.1 + 0.2 + 0.4


def test_no_job_waits_for_a_test(store: ObjectStore, picky_store: PickyStore) -> None:
    asked, go = threading.Event(), threading.Event()

    def hold(*_: object) -> bool:
        asked.set()
        return not go.wait(30)

    picky_store.refuses = hold
    tested = threading.Event()
    server_probe = ServerProbe(store, pause=0.05, tested=tested.set)
    assert not server_probe.allow_a_job()
    assert asked.wait(60)
    assert not server_probe.allow_a_job()
    assert not tested.is_set()
    go.set()
    assert tested.wait(60), "the trainer is woken"
    assert server_probe.allow_a_job()


def test_a_fault_during_a_test_is_not_forgotten_when_the_test_succeeds(
    store: ObjectStore, picky_store: PickyStore
) -> None:
    tested = threading.Event()
    server_probe = ServerProbe(store, pause=60, tested=tested.set)
    server_probe.allow_a_job()
    server_probe.note_fault()
    assert tested.wait(60)
    assert not server_probe.allow_a_job()


def test_a_disk_without_room_for_what_could_not_be_saved_lets_no_job_in(
    store: ObjectStore, temporary_files_in: Callable[[Path], None], small_disk: Callable[[int], SmallDisk]
) -> None:
    disk = small_disk(2 * LEAST_BYTES)
    temporary_files_in(disk.folder)
    server_probe = ServerProbe(store, pause=0.01)
    wait_for(server_probe.allow_a_job)
    server_probe.note_fault(3 * LEAST_BYTES, [PREFIX])
    looked = time.monotonic()
    wait_for(lambda: not server_probe.allow_a_job() and time.monotonic() - looked > 0.5)
    disk.grow(4 * LEAST_BYTES)
    wait_for(server_probe.allow_a_job)


def test_a_disk_that_is_gone_lets_no_job_in(
    store: ObjectStore, temporary_files_in: Callable[[Path], None], tmp_path: Path
) -> None:
    tested = threading.Event()
    temporary_files_in(tmp_path / "missing")
    server_probe = ServerProbe(store, pause=60, tested=tested.set)
    server_probe.allow_a_job()
    assert tested.wait(60)
    assert not server_probe.allow_a_job()
