"""Which inputs of a LoRA layer are dropped in a step (Srivastava et al. 2014): a hash says so, no generator.

Whether input k of a token is dropped follows from the job's seed, its step, the layer's name, the row's
tokens up to that one, and k. So neighbours, micro-batches, lanes and processes change nothing, nor does a
resume; and in a beginning that several rows share the same is dropped for all of them, wherever it is
computed.

Integers of 32 and 64 bits that wrap around are the same on every machine.
"""

from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEVELS = 2**16  # a probability is rounded to so many
WORD = 2**32


def draw_of(seed: int, step: int) -> int:
    """What all masks of a job's step follow from: 64 bits."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])


def draws_along(tokens_L: NDArray[np.int32], draw: int) -> NDArray[np.int32]:
    """What the masks of each token of a row follow from: its step's draw, and the row up to it."""
    places_L = np.arange(len(tokens_L), dtype=np.uint64)
    seen_L = np.cumsum(_mixed64(tokens_L.astype(np.uint64) << np.uint64(32) | places_L))
    return (_mixed64(seen_L ^ np.uint64(draw)) >> np.uint64(32)).astype(np.uint32).view(np.int32)


def salt_of(module: str) -> int:
    """What tells a layer's masks from those of other layers: 32 bits, with a sign."""
    return int.from_bytes(blake2b(module.encode(), digest_size=4).digest(), "big", signed=True)


def kept(draws_T: Tensor, salt: int, width: int, p: float) -> Tensor:
    """True for what is not dropped of `width` inputs, [T, K]. Each word of the hash serves two inputs."""
    words = torch.arange(1, width // 2 + 2, dtype=torch.int32, device=draws_T.device)
    hashed = _mixed32(_mixed32(draws_T ^ salt)[:, None] ^ _mixed32(words))
    lowest = min(round(p * LEVELS), LEVELS - 1) - LEVELS // 2
    return hashed.view(torch.int16)[:, :width] >= lowest


def _mixed64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The end of splitmix64 (Steele et al. 2014), begun one step on, so that 0 does not stay 0."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _mixed32(x: Tensor) -> Tensor:
    """Shifts and products, in place: what differs in one bit comes to differ in about half of them.

    An int32's shift keeps the sign, which is masked out.
    """
    x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF)).mul_(0x7FEB352D)
    x.bitwise_xor_((x >> 15).bitwise_and_(0x1FFFF)).mul_(0x846CA68B - WORD)
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))
