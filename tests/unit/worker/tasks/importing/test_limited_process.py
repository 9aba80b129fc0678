"""The process that reads files: it refuses each that does harm with the reason, and outlives no limit."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file

from core.catalog import load_catalog
from core.errors import JobError
from core.imports import ImportRequest
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.processes.processes import named
from tests.fixtures.processes.warm import nursery
from tests.fixtures.service.api import wait_for
from tests.fixtures.work.hostile_adapters import HOSTILE, MAX_BYTES
from tests.fixtures.work.imports import peft_files, warm_reading
from worker.tasks.importing.limited_process import PROGRAM, Order, read_in_a_process
from worker.tasks.importing.reading import COPIES, MORE_BYTES


@pytest.fixture(scope="module", autouse=True)
def warm() -> Iterator[None]:
    with warm_reading():
        yield


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def files(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return PEFT's files of a sound adapter."""
    return peft_files(base_of(catalog), tmp_path_factory.mktemp("adapter"))


def base_of(catalog: Path) -> Path:
    entry = load_catalog(catalog).get(TINY)
    assert entry is not None
    assert entry.path is not None
    return entry.path


@pytest.fixture
def order(catalog: Path, tmp_path: Path) -> Order:
    entry = load_catalog(catalog).get(TINY)
    assert entry is not None
    return Order(
        request=ImportRequest(
            base_model=TINY, object_key="", sha256="", filename="adapter.pt", lora_alpha=1.0
        ),
        entry=entry,
        base=base_of(catalog),
        base_sha256="",
        adapter=tmp_path / "adapter",
        max_bytes=MAX_BYTES,
    )


@pytest.mark.family(20)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_the_reason(
    order: Order, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    hostile = HOSTILE[name]
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "file").write_bytes(hostile.make(files))
    with pytest.raises(JobError) as raised:
        read_in_a_process(order, tmp_path)
    error = raised.value
    assert (error.code, error.param) == (hostile.code, hostile.param)
    assert hostile.says in error.message
    assert str(tmp_path) not in error.message, "clients see no path"
    assert not (tmp_path / "tunery-was-here").exists()
    assert not order.adapter.exists()


def test_a_file_that_takes_more_memory_than_allowed_is_refused(order: Order, tmp_path: Path) -> None:
    factors = {"A": torch.ones(4, 64), "B": torch.ones(64, 4)}
    layer = "model.layers.0.self_attn.q_proj"
    save_file({f"{layer}.lora_{name}": each for name, each in factors.items()}, tmp_path / "file")
    none_at_all = order.model_copy(update={"max_bytes": -MORE_BYTES // COPIES})
    with pytest.raises(JobError) as raised:
        read_in_a_process(none_at_all, tmp_path)
    assert raised.value.code == "adapter_too_large"
    assert read_in_a_process(order, tmp_path).format == "loralib"


def reading_processes() -> list[psutil.Process]:
    return named(PROGRAM, psutil.Process().children(recursive=True))


@pytest.fixture
def endless(tmp_path: Path) -> None:
    """Let the file be one that nobody ever finishes to write: to open it takes for ever."""
    os.mkfifo(tmp_path / "file")


@pytest.mark.usefixtures("endless")
def test_a_process_that_reads_for_too_long_is_killed(order: Order, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"more than 0\.5 seconds") as raised:
        read_in_a_process(order, tmp_path, seconds=0.5)
    assert raised.value.code == "adapter_too_large"
    assert not reading_processes()


@pytest.mark.usefixtures("endless")
def test_a_process_that_dies_says_that_the_file_is_too_large(order: Order, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_in_a_process, order, tmp_path, seconds=60)
        wait_for(reading_processes)[0].send_signal(signal.SIGKILL)
        with pytest.raises(JobError, match="has died") as raised:
            reading.result()
    assert raised.value.code == "adapter_too_large"


@pytest.mark.usefixtures("endless")
def test_the_process_has_no_secrets_and_ends_with_the_one_that_has_started_it(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TUNERY_SECRET_KEYS", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a secret")
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_in_a_process, order, tmp_path, seconds=3)
        environment = wait_for(reading_processes)[0].environ()
        assert environment["HOME"]
        assert "a secret" not in environment.values()
        assert isinstance(reading.exception(), JobError)
    command = [sys.executable, "-m", PROGRAM, str(tmp_path)]
    process = nursery().subprocess.Popen(command, stdin=subprocess.PIPE)
    wait_for(reading_processes)
    process.stdin.close()
    assert process.wait(60) == 1
