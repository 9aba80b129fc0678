"""Finds out which request breaks a common computation, so that the others go on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog

from worker.engine.device.free_memory import forget_computation
from worker.engine.device.health import device_is_broken, is_out_of_memory
from worker.engine.sampler.running import Running

log = structlog.get_logger()


class OfARequest(Protocol):
    @property
    def running(self) -> Running: ...


@dataclass(frozen=True)
class Failed:
    """A request that cannot be computed, and the error that its computation raises."""

    running: Running
    error: Exception


Item = TypeVar("Item", bound=OfARequest)
Result = TypeVar("Result")


def together(
    compute: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item | Failed]
) -> list[Result | Failed]:
    """Compute items together. If that fails, compute each half by itself, down to the items that fail alone.

    `compute` must leave nothing behind that a second call would find wrong. What has failed before is handed
    on. Raises the error if the device is broken. If several items all fail, and none for want of memory, no
    single request is to blame, and the first error is raised.
    """
    failed = [item for item in items if isinstance(item, Failed)]
    results = _by_halves(compute, [item for item in items if not isinstance(item, Failed)])
    errors = [result.error for result in results if isinstance(result, Failed)]
    if len(errors) == len(results) > 1 and not any(map(is_out_of_memory, errors)):
        raise errors[0]
    return [*results, *failed]


def each(compute: Callable[[Item], Result], items: Sequence[Item | Failed]) -> list[Result | Failed]:
    """Compute items one by one. What fails, or has failed before, harms none of the others."""
    return [
        result for item in items for result in together(lambda alone: [compute(one) for one in alone], [item])
    ]


def _by_halves(
    compute: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> list[Result | Failed]:
    if not items:
        return []
    try:
        return list(compute(items))
    except Exception as error:  # whatever one request raises must not end the others
        if device_is_broken(error):
            raise
        if len(items) == 1:
            log.error("request_broke", request=items[0].running.request.id, exc_info=error)
            failed = Failed(items[0].running, error)
        forget_computation(error)
    if len(items) == 1:
        return [failed]
    half = len(items) // 2
    return [*_by_halves(compute, items[:half]), *_by_halves(compute, items[half:])]
