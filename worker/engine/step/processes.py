"""The processes that train together on several devices, each with the same state and a part of every step."""

import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

# How long a process waits for an order: another machine may have to fetch a base model first
PATIENCE = timedelta(hours=2)


class GroupLost(BaseException):
    """A process is gone or out of step, and this process must end. Not an Exception: no job is to blame."""


class SharedFault(Exception):
    """What went wrong in one process, raised on every one: `error` is the first's that had one."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Processes:
    """A process that trains alone: every question to the others is answered by itself."""

    number = 0
    size = 1

    @property
    def may_abandon(self) -> bool:
        """Whether a pass may be abandoned before its end.

        Several processes must make the same calls in the same order, so none of them may end a pass early.
        """
        return self.size == 1

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

    @contextmanager
    def together(self, *, in_step: bool = False) -> Iterator[None]:  # noqa: ARG002
        """What fails inside on one process fails on all, with a SharedFault; alone, as it is.

        With `in_step`, the processes wait for each other inside, and a fault of one is the group's end.
        """
        yield

    def part_ways(self) -> None:
        """The last that is done together."""


ALONE = Processes()


class Torchrun(Processes):
    """A process of those that `torchrun` started; it says how many and which, and where they meet.

    Every process must make the same calls in the same order, or all wait for ever. Each may raise GroupLost.
    """

    def __init__(self, device: torch.device) -> None:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        self._words = dist.new_group(backend="gloo", timeout=PATIENCE)  # waits without keeping a core busy
        self.number, self.size = dist.get_rank(), dist.get_world_size()

    def part(self, items: Sequence[T]) -> Sequence[T]:
        return items[self.number :: self.size]

    def sum(self, values: Tensor) -> Tensor:
        with _or_lost():
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        flags = torch.tensor(int(flag))
        with _or_lost():
            dist.all_reduce(flags, group=self._words)
        return bool(flags.item())

    def broadcast(self, value: T) -> T:
        values = [value]
        with _or_lost():
            dist.broadcast_object_list(values, group=self._words)
        return values[0]

    @contextmanager
    def together(self, *, in_step: bool = False) -> Iterator[None]:
        fault: Exception | None = None
        try:
            yield
        except Exception as error:
            if in_step:
                raise GroupLost(f"{type(error).__name__} while others waited: {error}") from error
            fault = error
        if self.any(fault is not None):
            faults: list[Exception | None] = [None] * self.size
            with _or_lost():
                dist.all_gather_object(faults, _sendable(fault), group=self._words)
            raise SharedFault(next(error for error in faults if error is not None)) from fault

    def part_ways(self) -> None:
        dist.destroy_process_group()


def number_on_machine() -> int | None:
    """Which of the processes that `torchrun` started on this machine this is; None where it did not."""
    number = os.environ.get("LOCAL_RANK")
    return None if number is None else int(number)


def from_environment(device: torch.device) -> Processes:
    """The group that `torchrun` started this process in, or a process alone."""
    return ALONE if number_on_machine() is None else Torchrun(device)


@contextmanager
def _or_lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # PyTorch's, of every backend
        raise GroupLost(f"The other processes cannot be reached: {error}") from error


def _sendable(error: Exception | None) -> Exception | None:
    """The error, or one that says the same where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
