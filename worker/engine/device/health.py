"""The device that this process computes on: whether it works, and what its errors say."""

import torch

WANT_OF_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory")  # CUDA's, cuBLAS's, the CPU's


def check_device(device: torch.device) -> None:
    """Raises RuntimeError where nothing can be computed on it."""
    torch.ones(1, device=device).sum().item()


def device_is_broken(error: BaseException) -> bool:
    """Whether nothing more can be computed in this process: a CUDA error, but for want of memory.

    It is no one job's: after it each call fails, whoever makes it, until the process is another.
    """
    told = str(error)
    of_the_device = isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and told.startswith("CUDA error")
    )
    return of_the_device and not is_want_of_memory(error)


def is_want_of_memory(error: BaseException) -> bool:
    """Whether less to compute might have fitted: most allocators have no type but RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WANT_OF_MEMORY)
