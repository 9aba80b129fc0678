"""Calls the cross-entropy in C (`cross_entropy.c`)."""

from ctypes import c_int64

import torch
from torch import Tensor

from worker.engine.kernels.in_c.calls import integers, kernel, pointers, threads


def cross_entropy(
    logits_BV: Tensor, labels_B: Tensor, weights_B: Tensor, with_gradient: bool
) -> tuple[Tensor, Tensor] | None:
    """Compute `loss.BlockLosses`, or return None where C cannot."""
    if not logits_BV.is_contiguous() or weights_B.dtype is not torch.float32:
        return None
    if (built := kernel("cross_entropy", logits_BV)) is None:
        return None
    labels_B, weights_B = labels_B.contiguous(), weights_B.contiguous()
    nll_B, correct_B = (
        torch.empty(len(labels_B), dtype=torch.float32),
        torch.empty(len(labels_B), dtype=torch.bool),
    )
    built.cross_entropy(
        *pointers(logits_BV, labels_B, weights_B),
        *integers(logits_BV.shape),
        c_int64(with_gradient),
        *pointers(nll_B, correct_B),
        threads(),
    )
    return nll_B, correct_B
