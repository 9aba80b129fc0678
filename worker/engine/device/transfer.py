"""Copies from the host to the device that the host does not wait for."""

import torch
from torch import Tensor


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """Return host values on the device. A GPU copies them while the host goes on.

    This needs pinned memory, since a copy from other memory first waits for everything that the GPU computes.
    PyTorch keeps the pinned memory until the copy has ended, and uses it again.
    """
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
