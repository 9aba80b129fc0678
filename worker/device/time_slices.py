"""Divides the time of a device on which one process trains and samples."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from threading import Condition

MOST_SECONDS = 5.0  # of sampling between two micro-batches, however long the trainer has computed before


class TimeSlices:
    """The device of one process. One thread computes on it at a time.

    While the trainer holds the device, it gives slices between micro-batches: after t seconds of training,
    the others may compute for t · share / (1 - share) seconds. If they compute longer than that, they wait
    longer afterwards. They save up nothing while nobody waits. While nobody holds the device, they compute
    one after another.
    """

    def __init__(
        self,
        share: float = 0.0,
        finish: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`finish` waits until the device has computed what the trainer has given to it."""
        self._ratio = share / (1 - share)
        self._finish, self._clock = finish, clock
        self._changed = Condition()
        self._waiting: deque[object] = deque()
        self._taken = False
        self._held = False
        self._until = -inf  # until then, slices may begin although the trainer holds the device
        self._owed = 0.0  # seconds; negative if too many were taken
        self._since = 0.0  # when the last slice ended, or nobody waited

    @contextmanager
    def slice(self) -> Iterator[Callable[[], bool]]:
        """Compute in the block, once the device is this thread's. Threads get it in the order of their calls.

        Yields the function that says whether the slice goes on. Long work must ask it between two steps.
        """
        me = object()
        with self._changed:
            self._waiting.append(me)
            self._changed.wait_for(lambda: self._waiting[0] is me and not self._taken and self._is_open)
            self._waiting.popleft()
            self._taken = True
        try:
            yield lambda: not self._waiting and self._is_open
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the device in the block: others compute only while `give` lets them."""
        self._hold()
        try:
            yield
        finally:
            self._release()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Let others compute freely in the block, inside of `held`."""
        self._release()
        try:
            yield
        finally:
            self._hold()

    def give(self) -> None:
        """Let those that wait compute for as long as the trainer owes them.

        Only the thread that holds the device may call. If nobody waits, it costs next to nothing.
        """
        if not self._waiting:
            if self._owed < 0:  # a debt is paid off by training, whether anybody waits or not
                self._owed = min(0.0, self._owed + (self._clock() - self._since) * self._ratio)
            else:
                self._owed = 0.0
            self._since = self._clock()
            return
        self._finish()
        began = self._clock()
        self._owed = min(self._owed + (began - self._since) * self._ratio, MOST_SECONDS)
        if self._owed > 0:
            self._open_for(self._owed)
        self._since = self._clock()
        self._owed -= self._since - began

    def _open_for(self, seconds: float) -> None:
        """Let slices begin for so long, or until nobody wants one, and wait until the last one has ended."""
        with self._changed:
            self._until = self._clock() + seconds
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._taken and not (self._waiting and self._is_open), seconds)
            self._until = -inf
            self._changed.wait_for(lambda: not self._taken)

    @property
    def _is_open(self) -> bool:
        return not self._held or self._clock() < self._until

    def _hold(self) -> None:
        with self._changed:
            self._held = True
            self._changed.wait_for(lambda: not self._taken)
        self._owed, self._since = 0.0, self._clock()

    def _release(self) -> None:
        with self._changed:
            self._held = False
            self._changed.notify_all()
