"""How much memory this process holds on its device, and how much is left for it."""

import ctypes
import gc
import traceback
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
V2 = "0::/"


def free_bytes(device: torch.device, cgroups: Path = CGROUPS, own_cgroup: Path = OWN_CGROUP) -> int:
    """Return the memory that is left for this process, in bytes.

    On a GPU this is the memory that nobody holds. On a CPU it is what both the machine and the limits of the
    process's containers leave: those below `cgroups` of the group that the file `own_cgroup` names.
    """
    collect_garbage(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return min([psutil.virtual_memory().available, *_left_by_limits(_own_cgroup(own_cgroup), cgroups)])


def collect_garbage(device: torch.device) -> None:
    """Free objects that only hold each other, such as a former job's modules, and give back their memory."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        # memory of the host that the GPU reads; older versions of PyTorch cannot give it back
        getattr(torch.accelerator, "empty_host_cache", _do_nothing)()
    else:
        return_freed_pages()


def _do_nothing() -> None:
    pass


def held_bytes(device: torch.device) -> int:
    """Return the memory that this process holds, in bytes.

    On a GPU this is what PyTorch has reserved, and on a CPU the resident memory. Neither shrinks when less is
    needed.
    """
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    return psutil.Process().memory_info().rss


def return_freed_pages() -> None:
    """Give freed pages back to the system.

    The system counts them as used while the trainer's allocator keeps them (`worker/process/environment.py`).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)


def _own_cgroup(file: Path) -> str:
    """Return this process's path below the root of cgroups v2; the limits of cgroups v1 are not read."""
    lines = file.read_text("ascii").splitlines() if file.exists() else []
    return next((line.removeprefix(V2) for line in lines if line.startswith(V2)), "")


def _left_by_limits(own: str, root: Path) -> Iterator[int]:
    """Yield the bytes that each limit above this process leaves.

    Memory that only caches files counts as free.
    """
    group = root / own
    while group.is_relative_to(root):
        limit, used, statistics = (group / f"memory.{name}" for name in ("max", "current", "stat"))
        if limit.exists() and (most := limit.read_text("ascii").strip()) != "max":
            stat = dict(line.split() for line in statistics.read_text("ascii").splitlines())
            yield int(most) - int(used.read_text("ascii")) + int(stat["inactive_file"])
        group = group.parent


def forget_computation(error: BaseException) -> None:
    """Free the tensors that were computed until the error came.

    The tracebacks of the error and of its causes keep them alive, and they may fill the device's memory.
    """
    current: BaseException | None = error
    while current is not None and current.__traceback__ is not None:
        traceback.clear_frames(current.__traceback__)
        current.__traceback__ = None  # this also ends the loop if the errors name each other as their cause
        current = current.__cause__ or current.__context__
