"""Lanes compute parts of a micro-batch side by side, each with its own thread.

This is faster than if all cores work on the same tokens. A product scales with the cores that share it. But
between two products there is only little work, and there the cores wait for each other: on two cores for a
third of the time. A lane waits for other lanes at most once a layer, in attention.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import zip_longest
from threading import Barrier
from typing import TypeVar

import torch

from core.estimates.lanes import MAX_LANES
from worker.engine.batch.division import EVEN, Costs, divided
from worker.engine.batch.joining import joined
from worker.engine.batch.micro_batch import MicroBatch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lanes:
    """A pool of threads, each with its share of torch's threads. A single lane is the calling thread."""

    def __init__(self, count: int, costs: Costs = EVEN) -> None:
        self.count, self._costs = count, costs
        self._pool = _pool_of(count) if count > 1 else None

    def parts_of(self, batches: Sequence[MicroBatch], join: bool = False) -> list[MicroBatch]:
        """Return the part of each lane. With `join`, the micro-batches are divided one by one, then joined.

        Without `join` there is only one micro-batch.
        """
        if not join:
            (batch,) = batches
            return [batch] if self.count == 1 else divided(batch, self.count, self._costs)
        divisions = [divided(batch, self.count, self._costs) for batch in batches]
        return [joined([part for part in parts if part is not None]) for parts in zip_longest(*divisions)]

    def map(self, compute: Callable[[int, Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return `compute(lane, item)` for each of at most `count` items, in their order.

        The error of a call is raised here after all calls have ended, so that no lane still computes.
        """
        if self._pool is None:
            return [compute(0, item) for item in items]
        futures = [self._pool.submit(compute, lane, item) for lane, item in enumerate(items)]
        wait(futures)
        return [future.result() for future in futures]


def lanes_for(device: torch.device) -> int:
    """Return the number of lanes: one for each of torch's threads, at most MAX_LANES; on a GPU always one."""
    return min(MAX_LANES, torch.get_num_threads()) if device.type == "cpu" else 1


def _pool_of(count: int) -> ThreadPoolExecutor:
    """Return a pool whose threads have all started, each with its share of torch's threads."""
    whole = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, "lane", _use_threads, (whole // count,))
    together = Barrier(count)
    wait([pool.submit(together.wait) for _ in range(count)])
    torch.set_num_threads(whole)  # a lane's setting would also hold for every later thread
    return pool


def _use_threads(count: int) -> None:
    torch.set_num_threads(count)
    torch.get_num_threads()  # from here on, settings of other threads do not change this thread's
