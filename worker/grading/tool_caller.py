"""Answers the calls of tools in answers, and says with which tokens the answers go on."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog
from anyio import to_thread

from core.endpoints.tools import EndpointTool, ToolCall
from core.errors import JobError, TuneryError
from worker.grading.graded import TOOL_FAULT
from worker.grading.project_endpoints import ProjectEndpoints
from worker.grading.row_failed import RowFailed
from worker.grading.tool_results import ToolResults
from worker.grading.usage import UsageSums
from worker.rendering.render_request import CallsRequest
from worker.rendering.renderer import Renderer
from worker.rendering.tool_results import Message, tokens_after_calls

TURN_SECONDS = 600.0  # for all calls of one turn

log = structlog.get_logger()


class ToolCaller:
    """Calls the tools of one job. Only the event loop may call."""

    def __init__(
        self,
        endpoints: ProjectEndpoints,
        tools: Mapping[str, EndpointTool],
        renderer: Renderer,
        folder: Path,
    ) -> None:
        """`folder` has the tokenizer."""
        self._endpoints, self._tools = endpoints, tools
        self._begin = partial(renderer.calls, folder, CallsRequest())
        self._channel: Connection | None = None
        self._rendering = asyncio.Lock()  # of what comes through the channel

    async def call(
        self,
        row: dict[str, Any],
        answer: Sequence[Message],
        calls: Sequence[ToolCall],
        trace_id: str,
        end_token: int,
        _: UsageSums,
    ) -> ToolResults:
        """Return the results of the calls with which the last turn of an answer ends, one after the other.

        `answer` are the messages of the answer so far, and `end_token` is its last token. Raises JobError if
        no tool can be called: see `ProjectEndpoints.call`.
        """
        try:
            async with asyncio.timeout(TURN_SECONDS):
                outputs = [await self._output(call, row, trace_id) for call in calls]
        except RowFailed as error:
            return ToolResults(error=error.message)
        except TimeoutError:
            return ToolResults(error=f"The tools had {TURN_SECONDS:g} s for the calls of a turn.")
        render = partial(tokens_after_calls, row=row, answer=[*answer, *outputs], end_token=end_token)
        async with self._rendering:
            found = await to_thread.run_sync(self._rendered, render)
        if isinstance(found, Exception):
            return ToolResults(error=str(found))
        return ToolResults(outputs, found)

    async def _output(self, call: ToolCall, row: dict[str, Any], trace_id: str) -> Message:
        """Return the output of a call as a message. Raises RowFailed, and what `call` raises."""
        output = await self._endpoints.call(self._tools[call.name], call, row, trace_id)
        return {"role": "tool", "tool_call_id": call.id, "content": output}

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _rendered(self, render: Callable[[Any], list[int]]) -> list[int] | Exception:
        """Return what the process that renders returns or raises.

        If the process has died, perhaps of earlier calls, another one is asked, once.
        """
        while True:
            is_worn = self._channel is not None
            try:
                channel, self._channel = self._channel or self._begin(), None
                channel.send(render)
                found: list[int] | Exception = channel.recv()
            except (EOFError, OSError):
                if is_worn:
                    continue
                return JobError(TOOL_FAULT, "The process that renders the results of tools died.")
            except RecursionError:
                return JobError(TOOL_FAULT, "The row is nested too deeply to render results of tools.")
            if isinstance(found, Exception) and not isinstance(found, TuneryError):
                log.warning("results_not_rendered", error=str(found))  # the process has ended with it
                return JobError(TOOL_FAULT, "The results of the tools cannot be rendered.")
            self._channel = channel
            return found
