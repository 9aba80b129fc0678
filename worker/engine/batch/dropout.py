"""Dropout masks of LoRA layers (Srivastava et al. 2014), from a hash instead of a random generator.

Whether input k of a token is dropped follows from the job's seed, the step, the layer's name, the row's
tokens up to this token, and k. So neighbours, micro-batches, lanes, processes and resumes change nothing.
Rows that share a beginning drop the same inputs in it, wherever the beginning is computed.

The hash uses integers of 32 and 64 bits that wrap around, which are the same on every machine.
"""

from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEVELS = 2**16  # a probability is rounded to one of so many levels
WORD = 2**32


def step_seed(seed: int, step: int) -> int:
    """Return the seed, of 64 bits, that all masks of a job's step follow from."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])


def token_seeds(tokens_L: NDArray[np.int32], seed: int) -> NDArray[np.int32]:
    """Return the seed of each token of a row, from which its masks in all layers follow.

    It depends on the step's seed and on the row up to this token.
    """
    indices_L = np.arange(len(tokens_L), dtype=np.uint64)
    seen_L = np.cumsum(_mixed64(tokens_L.astype(np.uint64) << np.uint64(32) | indices_L))
    return (_mixed64(seen_L ^ np.uint64(seed)) >> np.uint64(32)).astype(np.uint32).view(np.int32)


def salt_of(module: str) -> int:
    """Return 32 bits, with a sign, that make a layer's masks differ from those of other layers."""
    return int.from_bytes(blake2b(module.encode(), digest_size=4).digest(), "big", signed=True)


def dropped(x_TK: Tensor, seeds_T: Tensor, salt: int, p: float) -> Tensor:
    """Return x ∘ mask / (1 - p), with the mask of `keep_mask`."""
    return torch.where(keep_mask(seeds_T, salt, x_TK.shape[1], p), x_TK, 0) / (1 - p)


def keep_mask(seeds_T: Tensor, salt: int, width: int, p: float) -> Tensor:
    """Return a mask of `width` inputs, [T, K], True for those that are not dropped with probability `p`.

    `seeds_T` are the `token_seeds`. Each word of the hash serves two inputs.
    """
    words = torch.arange(1, width // 2 + 2, dtype=torch.int32, device=seeds_T.device)
    hashed = _mixed32(_mixed32(seeds_T ^ salt)[:, None] ^ _mixed32(words))
    lowest = min(round(p * LEVELS), LEVELS - 1) - LEVELS // 2
    return hashed.view(torch.int16)[:, :width] >= lowest


def _mixed64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the final mix of splitmix64 (Steele et al. 2014), after one step, so that 0 does not stay 0."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _mixed32(x: Tensor) -> Tensor:
    """Mix the bits in place, by shifts and products.

    Inputs that differ in one bit get outputs that differ in about half of their bits. The shift of an int32
    keeps the sign, so the sign's copies are masked out.
    """
    x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF)).mul_(0x7FEB352D)
    x.bitwise_xor_((x >> 15).bitwise_and_(0x1FFFF)).mul_(0x846CA68B - WORD)
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))
