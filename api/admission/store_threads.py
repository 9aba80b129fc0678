"""The threads in which requests wait for the object store.

If the store hangs, these threads hang with it, and all other requests still have theirs.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from anyio import CapacityLimiter, fail_after, to_thread

from core.errors import Unavailable

# Each of these threads may hold a database connection. A process has more than twice as many connections.
READING_THREADS = 8

# Uploads have their own threads, so that they hold up no download. The number is small, since each thread
# holds a megabyte while it signs a part.
UPLOAD_THREADS = 8

# A comparison of two runs of an eval reads thousands of rows and computes for seconds, so they take threads.
COMPARING_THREADS = 1
WAIT_SECONDS = 20.0  # that a comparison waits for the thread

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


def waits_for_store(
    endpoint: Callable[Parameters, Answer],
) -> Callable[Parameters, Coroutine[Any, Any, Answer]]:
    """Run the endpoint in one of the threads that its argument `threads` limits."""

    @wraps(endpoint)
    async def in_thread(*args: Parameters.args, **arguments: Parameters.kwargs) -> Answer:
        threads = arguments["threads"]
        assert isinstance(threads, CapacityLimiter)
        return await to_thread.run_sync(partial(endpoint, *args, **arguments), limiter=threads)

    return in_thread


def waits_for_thread(
    endpoint: Callable[Parameters, Answer],
) -> Callable[Parameters, Coroutine[Any, Any, Answer]]:
    """Run the endpoint as `waits_for_store` does, but raise Unavailable if it waits too long for a thread."""

    @wraps(endpoint)
    async def in_thread(*args: Parameters.args, **arguments: Parameters.kwargs) -> Answer:
        threads, borrower = arguments["threads"], object()
        assert isinstance(threads, CapacityLimiter)
        try:
            with fail_after(WAIT_SECONDS):
                await threads.acquire_on_behalf_of(borrower)
        except TimeoutError:
            raise Unavailable(
                "Other comparisons are being computed. Try again in a few seconds.", code="comparison_busy"
            ) from None
        try:
            return await to_thread.run_sync(partial(endpoint, *args, **arguments), limiter=CapacityLimiter(1))
        finally:
            threads.release_on_behalf_of(borrower)

    return in_thread


async def in_threads(
    chunks: Iterator[bytes],
    threads: CapacityLimiter,
    permit: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> AsyncIterator[bytes]:
    """Yield the same chunks. One of `threads` waits for each of them, under a `permit` if there is one."""
    while True:
        async with permit():
            chunk = await to_thread.run_sync(next, chunks, None, limiter=threads)
        if chunk is None:
            return
        yield chunk
