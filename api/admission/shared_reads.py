"""Reads of the database that requests share: those that arrive while a query runs share the next query.

So the more of them there are, the less each costs: most change no thread, and need no connection.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


class SharedReads(Generic[Question, Answer]):
    """Reads one list of questions at a time: all that were asked since the last reading began.

    `read_all` returns the answers of those questions that have one. If it fails, all who asked get its error.
    It runs in a thread of its own, and rests for `rest` seconds after each reading.
    """

    def __init__(
        self, read_all: Callable[[list[Question]], dict[Question, Answer]], rest: float = 0.0
    ) -> None:
        self._read_all = read_all
        self._rest = rest
        self._thread = CapacityLimiter(1)
        self._asked: dict[Question, asyncio.Future[Answer | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def read(self, question: Question) -> Answer | None:
        """Return the answer, read after this call began. Return None if there is none."""
        answer = self._asked.get(question)
        if answer is None:
            answer = self._asked[question] = asyncio.get_running_loop().create_future()
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        # Other callers may wait for the same answer, so one that leaves must not cancel it.
        return await asyncio.shield(answer)

    async def _read(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                answers = await to_thread.run_sync(self._read_all, list(asked), limiter=self._thread)
            except Exception as error:
                for answer in asked.values():
                    answer.set_exception(error)
                    answer.exception()  # marks the error as seen: asyncio would warn if nobody waits any more
            else:
                for question, answer in asked.items():
                    answer.set_result(answers.get(question))
            await asyncio.sleep(self._rest)
