"""Whether the device that this process computes on works, and what its errors mean."""

import torch

OUT_OF_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory")  # of CUDA, cuBLAS, and CPUs


def check_device(device: torch.device) -> None:
    """Compute something on the device. Raises RuntimeError if that fails."""
    torch.ones(1, device=device).sum().item()


def finish_computing(device: torch.device) -> None:
    """Wait until the device has computed all that it was given. A CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_is_broken(error: BaseException) -> bool:
    """Return whether this process cannot compute any more: after a CUDA error other than too little memory.

    Nothing can be computed after it until a new process starts. The trainer ends, and all of its jobs become
    suspects.
    """
    of_the_device = isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and str(error).startswith("CUDA error")
    )
    return of_the_device and not is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the error means too little memory, so that a smaller computation might fit.

    Most allocators raise a plain RuntimeError, which only its message tells from others.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
