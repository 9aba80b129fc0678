"""Answers the calls of tools in answers, and says with which tokens the answers go on."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from anyio import to_thread

from core.endpoints.tools import EndpointTool, ToolCall
from core.errors import JobError
from worker.grading.project_endpoints import ProjectEndpoints
from worker.grading.row_failed import RowFailed
from worker.grading.tool_results import ToolResults
from worker.grading.usage import UsageSums
from worker.rendering.render_request import CallsRequest
from worker.rendering.renderer import Renderer
from worker.rendering.tool_results import Message, tokens_after_calls


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
            outputs = [
                await self._endpoints.call(self._tools[call.name], call, row, trace_id) for call in calls
            ]
        except RowFailed as error:
            return ToolResults(error=error.message)
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": output}
            for call, output in zip(calls, outputs, strict=True)
        ]
        render = partial(tokens_after_calls, row=row, answer=[*answer, *results], end_token=end_token)
        async with self._rendering:
            found = await to_thread.run_sync(self._rendered, render)
        if isinstance(found, JobError):
            return ToolResults(error=found.message)
        return ToolResults(outputs, found)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _rendered(self, render: Any) -> Any:
        """Return what the process that renders returns or raises. If it dies, that is a JobError too."""
        channel, self._channel = self._channel or self._begin(), None
        try:
            channel.send(render)
            found = channel.recv()
        except (EOFError, ConnectionError):
            channel.close()
            return JobError("tool_error", "The process that renders the results of tools died.")
        self._channel = channel
        return found
