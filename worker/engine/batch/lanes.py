"""Parts of a micro-batch side by side: a thread for each core beats all cores on the same tokens.

A product scales with the cores that share it, but what stands between two products is short, and the cores
wait for each other there: on two cores a third of the time. Lanes meet once a layer at most, in attention.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Barrier
from typing import TypeVar

import torch

from worker.engine.batch.division import EVEN, Costs, divided
from worker.engine.batch.micro_batch import MicroBatch
from worker.process.lane_limit import MAX_LANES

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lanes:
    """Threads that divide torch's threads among them; a single item gets all of these."""

    def __init__(self, count: int, costs: Costs = EVEN) -> None:
        self.count, self._costs = count, costs
        self._pool = _pool_of(count) if count > 1 else None

    def parts_of(self, batch: MicroBatch) -> list[MicroBatch]:
        """What each lane is to compute."""
        return [batch] if self.count == 1 else divided(batch, self.count, self._costs)

    def map(self, compute: Callable[[int, Item], Result], items: Sequence[Item]) -> list[Result]:
        """`compute(lane, item)` of at most `count` items, in their order.

        Whatever one raises is raised here once all have ended, so that nobody goes on behind.
        """
        if self._pool is None or len(items) == 1:
            return [compute(0, item) for item in items]
        futures = [self._pool.submit(compute, lane, item) for lane, item in enumerate(items)]
        wait(futures)
        return [future.result() for future in futures]


def lanes_for(device: torch.device) -> int:
    """As many as there are threads for, at most MAX_LANES; one on a GPU, which is a whole."""
    return min(MAX_LANES, torch.get_num_threads()) if device.type == "cpu" else 1


def _pool_of(count: int) -> ThreadPoolExecutor:
    """Of threads that all have begun, each with its share of torch's."""
    whole = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, "lane", _use_threads, (whole // count,))
    together = Barrier(count)
    wait([pool.submit(together.wait) for _ in range(count)])
    torch.set_num_threads(whole)  # a lane's number was set for every thread that comes after it
    return pool


def _use_threads(count: int) -> None:
    torch.set_num_threads(count)
    torch.get_num_threads()  # this thread takes its number for good, whatever others set later
