"""Whether a measurement that nobody has asked for fits into the memory that the training leaves."""

from pathlib import Path

import torch

from core.errors import JobError
from core.units import GIB
from worker.engine.device.free_memory import free_bytes

# A base model has 16 bits on the disk and 32 in a measurement. A runtime may hold a second copy for a while
TIMES_THE_FILES = 4


def require_memory(base_folder: Path) -> None:
    """Raise JobError if this machine has less memory left than a measurement of an adapter may take."""
    needed = TIMES_THE_FILES * sum(file.stat().st_size for file in base_folder.glob("*.safetensors"))
    free = free_bytes(torch.device("cpu"))
    if needed > free:
        raise JobError(
            "not_enough_memory",
            f"A measurement may take {needed / GIB:.1f} GiB of memory, and this worker has "
            f"{free / GIB:.1f} GiB left. Measure the adapter when a worker has more.",
        )
