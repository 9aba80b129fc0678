"""How much memory this process holds, and how much is left for it, on the device that it computes on."""

import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
V2 = "0::/"


def free_bytes(device: torch.device) -> int:
    """Of a GPU, what nobody holds; of a CPU, what the machine and its containers' limits leave."""
    collect_garbage(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return min([psutil.virtual_memory().available, *_rooms(_own_cgroup(), CGROUPS)])


def collect_garbage(device: torch.device) -> None:
    """Free what is held by circles alone, such as a former job's modules, and give it back to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    else:
        _return_freed_pages()


def held_bytes(device: torch.device) -> int:
    """Of a GPU, what PyTorch has reserved; of a CPU, what is resident. Both keep what was needed once."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    return psutil.Process().memory_info().rss


def _return_freed_pages() -> None:
    """Give freed pages back to the system, which counts them as taken while the trainer's allocator keeps
    them (`worker/supervise/launch.py`)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)


def _own_cgroup() -> str:
    """Under the second version's root, which has the limits; the first's are not looked at."""
    lines = OWN_CGROUP.read_text("ascii").splitlines() if OWN_CGROUP.exists() else []
    return next((line.removeprefix(V2) for line in lines if line.startswith(V2)), "")


def _rooms(own: str, root: Path) -> Iterator[int]:
    """What each limit above this process leaves, bytes. Files that are only cached count as free."""
    group = root / own
    while group.is_relative_to(root):
        limit, used, told = (group / f"memory.{name}" for name in ("max", "current", "stat"))
        if limit.exists() and (most := limit.read_text("ascii").strip()) != "max":
            stat = dict(line.split() for line in told.read_text("ascii").splitlines())
            yield int(most) - int(used.read_text("ascii")) + int(stat["inactive_file"])
        group = group.parent
