"""Grades samples beside a program that has no event loop: in a thread, which begins with the first sample.

Nothing that grades is imported before. So a trainer without reinforcement jobs pays nothing.
"""

import asyncio
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session, sessionmaker

from core.settings import Settings

if TYPE_CHECKING:  # for a trainer that grades nothing
    from core.endpoints.tools import EndpointTool
    from core.serving.served_model import ServedModel
    from worker.grading.desks import Desks
    from worker.grading.usage import UsageSums
    from worker.rendering.renderer import Renderer

CLOSE_SECONDS = 10.0


@dataclass(frozen=True)
class Teacher:
    """The name of a model that says how likely it finds each token of a sample."""

    model: str


@dataclass(frozen=True)
class Tools:
    """Tools that answer the calls of a sample, by their names.

    The folder has the tokenizer with which the outputs are rendered.
    """

    by_name: "Mapping[str, EndpointTool]"
    folder: Path


@dataclass(frozen=True)
class Order:
    """Samples of one job for one grader, one `Teacher`, or `Tools`.

    A sample is the arguments of the function that takes it: `SampleGrader.grade`, `TeacherReader.read` or
    `ToolCaller.call`. `models` has what a server loads for each model that the grader names, or for the
    teacher. `usage` gets the tokens of these models, which also count in the project's usage.
    """

    job_id: str
    project_id: str
    by: Any
    samples: Sequence[tuple[Any, ...]]
    models: "Mapping[str, ServedModel]"
    usage: "UsageSums | None"


class GradingThread:
    """The thread. Any thread may call."""

    def __init__(
        self, settings: Settings, sessions: sessionmaker[Session], renderer: "Renderer | None" = None
    ) -> None:
        """`renderer` is for what tools return: without one, no `Tools` can be called."""
        self._settings, self._sessions, self._renderer = settings, sessions, renderer
        self._lock = threading.Lock()
        self._runner: asyncio.Runner | None = None
        self._thread = threading.Thread(target=self._run, name="grading", daemon=True)
        self._closing = asyncio.Event()
        self._desks: Desks | None = None

    def submit(
        self,
        job_id: str,
        project_id: str,
        by: Any,
        samples: Sequence[tuple[Any, ...]],
        *,
        models: "Mapping[str, ServedModel] | None" = None,
        usage: "UsageSums | None" = None,
    ) -> "Future[list[Any]]":
        """Begin to judge samples, and return the outcomes as a future, in the order of the samples.

        They are grades, or the results of tools. See `Order` for the arguments. At most `grading_at_once`
        samples of a job are judged at once, and no job waits for another one. The future can be cancelled.
        It raises JobError and OutsideFault if no sample can be judged, and what the database raises.
        """
        order = Order(job_id, project_id, by, samples, models or {}, usage)
        return asyncio.run_coroutine_threadsafe(self._graded(order), self._started())

    def leave(self, job_id: str) -> None:
        """Give up all samples of a job, and what was held for it."""
        with self._lock:
            if self._runner is not None:
                asyncio.run_coroutine_threadsafe(self._left(job_id), self._runner.get_loop())

    def close(self) -> None:
        """Give up all samples, and end the thread with its processes. Nothing can be submitted any more."""
        with self._lock:
            runner, self._runner = self._runner, None
        if runner is not None:
            runner.get_loop().call_soon_threadsafe(self._closing.set)
            self._thread.join(CLOSE_SECONDS)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._runner is None:
                self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
                self._runner.get_loop()  # before the thread begins, so that samples can wait for it
                self._thread.start()
            return self._runner.get_loop()

    def _run(self) -> None:
        # AnyIO runs the file of the main module in each grader process. That of a trainer imports torch.
        vars(sys.modules["__main__"]).pop("__file__", None)
        runner = self._runner
        assert runner is not None
        with runner:  # at its end, all tasks are cancelled and the processes killed
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        await self._closing.wait()
        if self._desks is not None:
            await self._desks.close()

    async def _graded(self, order: Order) -> list[Any]:
        if self._desks is None:
            from worker.grading.desks import Desks

            self._desks = Desks(self._settings, self._sessions, self._renderer)
        return await self._desks.grade(order)

    async def _left(self, job_id: str) -> None:
        if self._desks is not None:
            await self._desks.leave(job_id)
