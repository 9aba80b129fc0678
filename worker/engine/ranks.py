"""The processes that train together on several devices, each with the same state and a part of every step."""

import os
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class Ranks:
    """A process that trains alone: every question to the others is answered by itself."""

    rank = 0
    size = 1

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """What of `items` this process computes."""
        return items

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, in place."""
        return values

    def any(self, flag: bool) -> bool:
        """Whether any process says so: a decision that all must take alike."""
        return flag

    def broadcast(self, value: T) -> T:
        """The first process's value, whatever the others give."""
        return value


ALONE = Ranks()


class Torchrun(Ranks):
    """A process of those that `torchrun` started; it says how many and which, and where they meet.

    Every rank must make the same calls in the same order, or all wait for ever.
    """

    def __init__(self, device: torch.device) -> None:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._device = device

    def part(self, items: Sequence[T]) -> Sequence[T]:
        return items[self.rank :: self.size]

    def sum(self, values: Tensor) -> Tensor:
        dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        return bool(self.sum(torch.tensor(int(flag), device=self._device)).item())

    def broadcast(self, value: T) -> T:
        values = [value]
        dist.broadcast_object_list(values, device=self._device)
        return values[0]


def from_environment(device: torch.device) -> Ranks:
    """The group that `torchrun` started this process in, or a process alone."""
    return Torchrun(device) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else ALONE
