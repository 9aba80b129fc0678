"""What autograd saves for the backward pass, in bf16 instead of fp32: half the room.

For bases that compute in fp32 only since that is faster on their device. Where bf16 is faster, all that is
computed is rounded so; here each activation is, once, on its way to the backward pass.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


@dataclass(frozen=True)
class _Rounded:
    x: Tensor


def saved_in_bf16() -> saved_tensors_hooks:
    """Rounds what the functions called within save, and hands it back in fp32.

    Vectors, and one number a token, take no room and are left as they are. No weight matrix may be saved.
    """
    return saved_tensors_hooks(_pack, _unpack)


def _pack(x: Tensor) -> Tensor | _Rounded:
    is_matrix = x.dim() > 1 and x.shape[-1] > 1
    # Of x itself autograd wants no reference back
    return _Rounded(x.bfloat16()) if is_matrix and x.dtype is torch.float32 else x.detach()


def _unpack(saved: Tensor | _Rounded) -> Tensor:
    return saved.x.float() if isinstance(saved, _Rounded) else saved
