"""Does one run of an eval: reads the rows, judges them, several at once, and sums up what was found."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from anyio import to_thread

from core.errors import InvalidRequest, JobError
from core.evals.criteria import CRITERION, Criterion
from core.evals.data_sources import CompletionsDataSource
from core.evals.results import Record, RowError, RunReport
from core.evals.run_request import RunRequest
from core.graders.check import check
from core.graders.processes import GraderProcesses
from core.process.failpoints import reached
from core.serving.dispatch.dispatcher import Dispatcher
from core.serving.served_model import ServedModel
from core.tables import Eval
from core.tracing import spans
from worker.grading.asking import Asking, bearer_token
from worker.grading.model_graders import ModelGraders
from worker.grading.named_images import with_named_images
from worker.grading.project_endpoints import ProjectEndpoints
from worker.grading.quota import ChatQuota
from worker.grading.row_failed import RowFailed
from worker.grading.sample_grader import SampleGrader
from worker.grading.usage import UsageSums, count_for_project
from worker.process.scratch import scratch_folder
from worker.tasks.evaluation.judge import Judge, JudgedRow
from worker.tasks.evaluation.likelihood import LikelihoodMeter
from worker.tasks.evaluation.permissions import may_read
from worker.tasks.evaluation.records import Records
from worker.tasks.evaluation.rows.reading import ReadRows, read_rows
from worker.tasks.evaluation.samples import Sampler
from worker.tasks.frame.work import GaveWay, Work

JUDGING = "judging the rows"
WAITING_FOR_QUOTA = "waiting for the project's quota of chats"
REPORT_SECONDS = 0.5
READ, JUDGED = 0.02, 0.95  # the shares of the work at whose end rows are read, and judged


def judge_run(work: Work, folder: Path) -> RunReport:
    """Write the records of the run, and return its report. Raises JobError, OutsideFault and GaveWay."""
    request: RunRequest = work.request
    criteria = _criteria(work)
    with ExitStack() as held:
        temporary = held.enter_context(scratch_folder("task"))
        work.progress("reading the rows", 0.0)
        read = read_rows(work, request, criteria, temporary)
        held.callback(read.items.close)
        records = Records(work, folder, read.items, criteria)
        records.resume()
        work.progress(JUDGING, READ)
        asyncio.run(_Run(work, request, criteria, read, records).judge_all())
    return records.report()


def _criteria(work: Work) -> list[Criterion]:
    with work.sessions() as session:
        row = session.get_one(Eval, work.task.eval_id)
        criteria = [CRITERION.validate_python(each) for each in row.criteria]
    for criterion in criteria:
        try:
            check(criterion, criterion.name, work.settings.python_sandbox)
        except InvalidRequest as error:
            raise JobError(error.code or "invalid_criterion", error.message, error.param) from error
    return criteria


class _Run:
    """The rows that are judged at once. Only the event loop may call."""

    def __init__(
        self, work: Work, request: RunRequest, criteria: list[Criterion], read: ReadRows, records: Records
    ) -> None:
        self._work, self._request, self._records, self._items = work, request, records, read.items
        settings = work.settings
        token = bearer_token(settings, asks=request.served is not None or bool(request.grader_models))
        self._dispatcher = Dispatcher(work.sessions, token, settings.chat_wait_seconds)
        self._quota = ChatQuota(settings, work.sessions, work.task.project_id, settings.eval_requests)
        self._asking = Asking(self._dispatcher, self._quota, work.task.project_id, settings.eval_wait_seconds)
        self._judge = _judge(work, request, criteria, read, self._asking)
        self._models = _models(request)
        self._uncounted = UsageSums()

    async def judge_all(self) -> None:
        """Judge the rows that have no record yet. Raises JobError, OutsideFault and GaveWay."""
        rows = iter(self._records.missing)
        try:
            await to_thread.run_sync(self._check_models)
            async with asyncio.TaskGroup() as group:
                ticker = group.create_task(self._report_again_and_again())
                at_once = range(self._work.settings.eval_requests)
                await asyncio.wait([group.create_task(self._judge_rows(rows)) for _ in at_once])
                ticker.cancel()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            self._quota.close()
            await self._dispatcher.close()
            await self._count_usage()

    async def _judge_rows(self, rows: Iterator[int]) -> None:
        for index in rows:
            with spans.unkept():  # the requests of all rows would be too many for one trace
                record = await self._record(index)
            finished = self._records.add(record)
            if finished is not None:
                await to_thread.run_sync(self._records.upload, finished)
                await self._count_usage()
                reached("records.uploaded")
                await to_thread.run_sync(self._check_models)
                await self._give_way()

    def _check_models(self) -> None:
        """Raise JobError if the project may not read one of the models any more."""
        with self._work.sessions() as session:
            for name, model in self._models:
                if model.adapter and not may_read(session, self._work.task.project_id, model.adapter):
                    reason = f"'{name}' was deleted, or is not shared with this project any more."
                    raise JobError("model_not_found", f"{reason} The run has stopped.", "model")

    async def _record(self, index: int) -> Record:
        row = JudgedRow(index, self._items[index], UsageSums())
        error, results = None, []
        try:
            results = await self._judge.judge(row)
        except RowFailed as failed:
            error = RowError(code=failed.code, message=failed.message)
        finally:
            for used in row.usage.by_model:
                self._uncounted.add(used)
        return Record(
            index=index,
            item=with_named_images(row.item.item),
            sample=with_named_images(row.sample),
            results=results,
            error=error,
            usage=row.usage.by_model,
        )

    async def _count_usage(self) -> None:
        """Count in the project's usage what was used since the last time."""
        used, self._uncounted = self._uncounted, UsageSums()
        project = self._work.task.project_id
        await to_thread.run_sync(count_for_project, self._work.sessions, project, used.by_model)

    async def _give_way(self) -> None:
        """Raise GaveWay if the run's time is up and another project waits. Its files are uploaded."""
        if self._records.missing:
            await to_thread.run_sync(self._work.give_way)

    async def _report_again_and_again(self) -> None:
        while True:
            if self._work.stopping.is_set():
                raise GaveWay("the process is told to stop")
            base, waited = self._asking.waits_for, self._quota.waits_for_seconds
            phase = JUDGING if base is None else f"waiting for a server for '{base}'"
            if waited:
                phase = WAITING_FOR_QUOTA
                self._work.advance()  # it does not hang
            if waited > self._work.share_seconds:
                await self._give_way()
            done = READ + (JUDGED - READ) * self._records.done / len(self._items)
            self._work.progress(phase, done)
            await asyncio.sleep(REPORT_SECONDS)


def _models(request: RunRequest) -> list[tuple[str, ServedModel]]:
    """Return the models that the run asks, with their names."""
    judged = [(request.model, request.served)] if request.model and request.served else []
    asked = [*judged, *request.grader_models.items()]
    return [(name, ServedModel.model_validate(served)) for name, served in asked]


def _judge(
    work: Work, request: RunRequest, criteria: list[Criterion], read: ReadRows, asking: Asking
) -> Judge:
    sampler = meter = None
    if request.served is not None and request.model is not None:
        served = ServedModel.model_validate(request.served)
        if isinstance(request.data_source, CompletionsDataSource):
            sampler = Sampler(asking, request.data_source, request.model, served)
        if read.rendered is not None:
            meter = LikelihoodMeter(asking, read.rendered, request.model, served)
    models = {name: ServedModel.model_validate(model) for name, model in request.grader_models.items()}
    endpoints = ProjectEndpoints(work.settings, work.sessions, work.task.project_id)
    grader = SampleGrader(
        GraderProcesses(work.settings.python_sandbox), endpoints, ModelGraders(asking, models)
    )
    return Judge(criteria, sampler, meter, grader)
