"""The device that this process computes on: whether it works, and which errors say that it no longer does."""

import torch

WANT_OF_MEMORY = ("out of memory", "ALLOC_FAILED")


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
    return of_the_device and not any(words in told for words in WANT_OF_MEMORY)
