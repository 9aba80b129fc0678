"""Processes that train together on several devices: all have the same state, and each computes a part."""

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

# How long a process waits for a message: another machine may have to fetch a base model first
MESSAGE_TIMEOUT = timedelta(hours=2)


class GroupLost(BaseException):
    """Another process is gone or out of step, so this process must end.

    It is not an Exception, because no job has caused it.
    """


class SharedFault(Exception):
    """A fault of one process, raised in every process. `error` is the error of the first one that failed."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Processes:
    """A process that trains alone, and the interface of the group of several processes."""

    number = 0
    size = 1

    @property
    def may_abandon(self) -> bool:
        """Whether a pass may be abandoned before its end.

        Several processes must make the same calls in the same order, so none of them may end a pass early.
        """
        return self.size == 1

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """Return those of `items` that this process computes."""
        return items

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of `values` over the processes, computed in place."""
        return values

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is True in any process, so that all processes decide alike."""
        return flag

    def broadcast(self, value: T) -> T:
        """Return the first process's value; the values of the others are ignored."""
        return value

    @contextmanager
    def together(self, *, in_lockstep: bool = False) -> Iterator[None]:  # noqa: ARG002
        """Raise a SharedFault in all processes if the code inside fails in one of them.

        In a process that trains alone, the error is raised as it is. With `in_lockstep`, the processes wait
        for each other inside the block. A process that fails there cannot tell the others, so it raises
        GroupLost, which ends the group.
        """
        yield

    def close(self) -> None:
        """Leave the group. This is the last call that all processes make together."""


ALONE = Processes()


class Torchrun(Processes):
    """The group of processes that `torchrun` started, as one of them sees it.

    Environment variables of `torchrun` hold the number of processes, the number of this process, and the
    address where they meet. Every process must make the same calls in the same order, otherwise all wait for
    ever. Each call may raise GroupLost.
    """

    def __init__(self, device: torch.device) -> None:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        # Messages go over gloo, because a process that waits with gloo keeps no core busy
        self._messages = dist.new_group(backend="gloo", timeout=MESSAGE_TIMEOUT)
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
            dist.all_reduce(flags, group=self._messages)
        return bool(flags.item())

    def broadcast(self, value: T) -> T:
        values = [value]
        with _or_lost():
            dist.broadcast_object_list(values, group=self._messages)
        return values[0]

    @contextmanager
    def together(self, *, in_lockstep: bool = False) -> Iterator[None]:
        fault: Exception | None = None
        try:
            yield
        except Exception as error:
            if in_lockstep:
                raise GroupLost(f"{type(error).__name__} while others waited: {error}") from error
            fault = error
        if self.any(fault is not None):
            faults: list[Exception | None] = [None] * self.size
            with _or_lost():
                dist.all_gather_object(faults, _sendable(fault), group=self._messages)
            raise SharedFault(next(error for error in faults if error is not None)) from fault

    def close(self) -> None:
        dist.destroy_process_group()


def number_on_machine() -> int | None:
    """Return this process's number among those that `torchrun` started on this machine.

    Return None if `torchrun` did not start it.
    """
    number = os.environ.get("LOCAL_RANK")
    return None if number is None else int(number)


def from_environment(device: torch.device) -> Processes:
    """Return the group that `torchrun` started this process in, or a process alone."""
    return ALONE if number_on_machine() is None else Torchrun(device)


@contextmanager
def _or_lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # every backend of PyTorch raises it
        raise GroupLost(f"The other processes cannot be reached: {error}") from error


def _sendable(error: Exception | None) -> Exception | None:
    """Return the error, or a RuntimeError with the same text if the error cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
