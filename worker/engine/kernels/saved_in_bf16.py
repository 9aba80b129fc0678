"""Tensors that autograd saves for the backward pass are stored in bf16 instead of fp32, in half the memory.

This is for base models that compute in fp32 only because fp32 is faster on their device. A device on which
bf16 is faster rounds every result to bf16. Here each activation is rounded once, when it is saved.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


@dataclass(frozen=True)
class _Rounded:
    x: Tensor


def saved_in_bf16() -> saved_tensors_hooks:
    """Return hooks that round the tensors saved inside to bf16, and give them back in fp32.

    Vectors, and tensors with one number for each token, need little memory and stay as they are. No weight
    matrix may be saved inside: it would be rounded and copied too.
    """
    return saved_tensors_hooks(_pack, _unpack)


def _pack(x: Tensor) -> Tensor | _Rounded:
    is_matrix = x.dim() > 1 and x.shape[-1] > 1
    # Detached, because a hook that returns x itself leaves autograd with a circle of references
    return _Rounded(x.bfloat16()) if is_matrix and x.dtype is torch.float32 else x.detach()


def _unpack(saved: Tensor | _Rounded) -> Tensor:
    return saved.x.float() if isinstance(saved, _Rounded) else saved
