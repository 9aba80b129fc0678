"""Grades the samples of several jobs at once. Each job has a desk of its own, so none waits for another."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from anyio import to_thread
from sqlalchemy.orm import Session, sessionmaker

from core.graders.processes import GraderProcesses
from core.serving.dispatch.dispatcher import Dispatcher
from core.settings import Settings
from worker.grading.asking import Asking, bearer_token
from worker.grading.grading_thread import Order, Teacher, Tools
from worker.grading.model_graders import ModelGraders
from worker.grading.project_endpoints import ProjectEndpoints
from worker.grading.quota import ChatQuota
from worker.grading.sample_grader import SampleGrader
from worker.grading.teacher import TeacherReader
from worker.grading.tool_caller import ToolCaller
from worker.grading.usage import UsageSums, count_for_project
from worker.rendering.renderer import Renderer

Judge = Callable[..., Awaitable[Any]]
"""Judges a sample, whose parts are its arguments, and counts the tokens of models in the last argument."""


class Desks:
    """The desks of all jobs. Only the event loop may call."""

    def __init__(
        self, settings: Settings, sessions: sessionmaker[Session], renderer: Renderer | None
    ) -> None:
        self._settings, self._sessions, self._renderer = settings, sessions, renderer
        self._desks: dict[str, _Desk] = {}
        self._dispatcher: Dispatcher | None = None

    async def grade(self, order: Order) -> list[Any]:
        """Return the outcomes of an order's samples. Raises what `SampleGrader.grade` raises."""
        desk = self._desks.get(order.job_id)
        if desk is None:
            endpoints = ProjectEndpoints(self._settings, self._sessions, order.project_id)
            asking = partial(self._asking, order.project_id)
            desk = _Desk(self._settings, endpoints, asking, self._renderer)
            self._desks[order.job_id] = desk
        used = UsageSums()
        try:
            return await desk.grade(order, used)
        finally:
            if order.usage is not None:
                for each in used.by_model:
                    order.usage.add(each)
            await to_thread.run_sync(count_for_project, self._sessions, order.project_id, used.by_model)

    async def leave(self, job_id: str) -> None:
        """Give up what the job still has graded."""
        desk = self._desks.pop(job_id, None)
        if desk is not None:
            await desk.close()

    async def close(self) -> None:
        """Give up everything."""
        for job_id in list(self._desks):
            await self.leave(job_id)
        if self._dispatcher is not None:
            await self._dispatcher.close()

    def _asking(self, project_id: str) -> tuple[Asking, ChatQuota]:
        settings = self._settings
        if self._dispatcher is None:
            token = bearer_token(settings, asks=True)
            self._dispatcher = Dispatcher(self._sessions, token, settings.chat_wait_seconds)
        quota = ChatQuota(settings, self._sessions, project_id, settings.grading_at_once)
        return Asking(self._dispatcher, quota, project_id, settings.eval_wait_seconds), quota


class _Desk:
    """What grades the samples of one job. `asking` returns what asks servers for the job's project."""

    def __init__(
        self,
        settings: Settings,
        endpoints: ProjectEndpoints,
        asking: Callable[[], tuple[Asking, ChatQuota]],
        renderer: Renderer | None,
    ) -> None:
        self._room = asyncio.Semaphore(settings.grading_at_once)
        self._endpoints, self._new_asking = endpoints, asking
        self._processes = GraderProcesses(settings.python_sandbox)
        self._asking: tuple[Asking, ChatQuota] | None = None
        self._renderer = renderer
        self._caller: ToolCaller | None = None
        self._orders: set[asyncio.Task[Any]] = set()

    async def grade(self, order: Order, usage: UsageSums) -> list[Any]:
        """Return the outcomes of an order's samples, several at once."""
        task = asyncio.current_task()
        assert task is not None
        self._orders.add(task)
        try:
            judge = self._judge(order)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._in_turn(judge, *sample, usage)) for sample in order.samples]
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            self._orders.discard(task)
        return [task.result() for task in tasks]

    async def close(self) -> None:
        """Give up all orders, and end what was held for them."""
        orders = list(self._orders)
        for task in orders:
            task.cancel()
        await asyncio.gather(*orders, return_exceptions=True)
        self._processes.close()
        if self._caller is not None:
            self._caller.close()
        if self._asking is not None:
            await to_thread.run_sync(self._asking[1].close)

    async def _in_turn(self, judge: Judge, *sample: Any) -> Any:
        async with self._room:
            return await judge(*sample)

    def _judge(self, order: Order) -> Judge:
        """Return what judges a sample of the order."""
        by = order.by
        if isinstance(by, Tools):
            return self._calls(by).call
        if isinstance(by, Teacher):
            return TeacherReader(self._asks(), by, order.models[by.model]).read
        models = ModelGraders(self._asks(), dict(order.models)) if order.models else None
        return partial(SampleGrader(self._processes, self._endpoints, models).grade, by)

    def _calls(self, tools: Tools) -> ToolCaller:
        if self._caller is None:
            assert self._renderer is not None, "whoever calls tools has what renders their results"
            self._caller = ToolCaller(self._endpoints, tools.by_name, self._renderer, tools.folder)
        return self._caller

    def _asks(self) -> Asking:
        if self._asking is None:
            self._asking = self._new_asking()
        return self._asking[0]
