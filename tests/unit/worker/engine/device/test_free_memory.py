"""What a process may take: the machine's free memory, or less where a container's limit is nearer."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from worker.engine.device.free_memory import free_bytes
from worker.process.environment import TRAINER_ENVIRONMENT

pytestmark = pytest.mark.slow


def write_group(folder: Path, limit: str, current: int, cached: int) -> None:
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")


@pytest.mark.parametrize(
    ("limits", "free"),
    [
        (("max", "max"), None),
        (("10000", "max"), 10000 - 2000 + 500),
        (("10000", "3000"), 3000 - 1000 + 100),
        (("1000000000000000000", "max"), None),
    ],
)
def test_the_nearest_limit_counts(tmp_path: Path, limits: tuple[str, str], free: int | None) -> None:
    root = tmp_path / "cgroup"
    root.mkdir()
    write_group(root / "service", limits[0], 2000, 500)
    write_group(root / "service" / "worker", limits[1], 1000, 100)
    (tmp_path / "own").write_text("4:memory:/elsewhere\n0::/service/worker\n")
    found = free_bytes(torch.device("cpu"), root, tmp_path / "own")
    if free is None:
        assert found == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    else:
        assert found == free


def test_without_control_groups_the_machine_s_memory_counts(tmp_path: Path) -> None:
    assert 0 < free_bytes(torch.device("cpu"), tmp_path, tmp_path / "none") <= psutil.virtual_memory().total


def test_what_this_process_has_freed_is_free() -> None:
    """With the trainer's allocator, which keeps freed memory to itself."""
    program = (
        "import psutil, torch\n"
        "from worker.engine.device.free_memory import free_bytes\n"
        "held = [torch.ones(2**18) for _ in range(400)]\n"  # 1 MiB each
        "last = torch.ones(2**18)\n"  # above them, so that the heap cannot shrink from its end
        "del held\n"
        "kept = psutil.Process().memory_info().rss\n"
        "free_bytes(torch.device('cpu'))\n"
        "print(kept - psutil.Process().memory_info().rss)\n"
    )
    environment = {**os.environ, **TRAINER_ENVIRONMENT}
    arguments = [sys.executable, "-c", program]
    told = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    assert int(told.stdout) > 300 * 2**20
