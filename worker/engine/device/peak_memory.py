"""Measures the most memory that a piece of work takes on a device."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from worker.engine.device.free_memory import collect_garbage

OWN = Path("/proc/self")
RESET_PEAK = "5"  # proc_pid_clear_refs(5)
KIB = 1024


@dataclass
class Peak:
    """The bytes beside what was held before. It is 0 until the work has ended."""

    bytes: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Yield what the work inside takes at most, once it has ended.

    On a GPU it is what tensors take. On a CPU it is what the process takes, which may be more: its heap keeps
    freed blocks.
    """
    collect_garbage(device)
    before = _begin(device)
    found = Peak()
    yield found
    found.bytes = max(0, _most(device) - before)


def _begin(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    (OWN / "clear_refs").write_text(RESET_PEAK)
    return _status("VmRSS")


def _most(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    return _status("VmHWM")


def _status(name: str) -> int:
    """Return a number of /proc/self/status in bytes."""
    lines = (OWN / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * KIB
