"""Asks the endpoints of graders, and calls tools, in the name of one project."""

import time
from collections.abc import Mapping
from typing import Any

from anyio import to_thread
from sqlalchemy.orm import Session, sessionmaker

from core.egress import Egress
from core.endpoints.asking import Credentials, Endpoints
from core.endpoints.schemas import Endpoint
from core.endpoints.tools import EndpointTool, ToolCall
from core.errors import AppError, JobError
from core.graders.endpoint import ENDPOINT_FAULT, EndpointFailed, scores
from core.graders.sample import Sample
from core.graders.schemas import EndpointGrader
from core.objectives.reinforcement import TOOLS
from core.secrets.endpoint_headers import Signing
from core.secrets.vault import Vault
from core.settings import Settings
from worker.grading.graded import TOOL_FAULT
from worker.grading.row_failed import RowFailed
from worker.grading.tool_calls import ToolFailed, call_tool

READ_AGAIN_SECONDS = 60.0  # after which the project's secret is read again: it may have been replaced


class ProjectEndpoints:
    """What asks endpoints. Only the event loop may call."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session], project_id: str) -> None:
        self._sessions, self._project_id = sessions, project_id
        self._vault = Vault.of(settings.secret_keys)
        egress = Egress(settings.egress_allow)
        self._endpoints = Endpoints(egress, settings.grading_at_once, settings.endpoint_grader_seconds)
        self._signing: Signing | None = None

    async def scores(
        self, graders: Mapping[str, EndpointGrader], item: Any, sample: Sample
    ) -> dict[str, float]:
        """Return the scores that endpoints give a sample, by the names of their graders.

        Raises RowFailed if one gives none, and JobError if none can be asked.
        """
        if not graders:
            return {}
        named = {name: (each, await self._credentials(each, "grader")) for name, each in graders.items()}
        try:
            return await scores(self._endpoints, named, item, sample)
        except EndpointFailed as error:
            raise RowFailed(ENDPOINT_FAULT, str(error)) from error

    async def call(self, tool: EndpointTool, call: ToolCall, item: Any, trace_id: str) -> str:
        """Return the output of a call of a tool, as the model is shown it.

        Raises RowFailed with the code TOOL_FAULT if the tool gives none, and JobError if it cannot be asked.
        """
        credentials = await self._credentials(tool, TOOLS)
        try:
            return await call_tool(self._endpoints, tool, credentials, call, item, trace_id)
        except ToolFailed as error:
            raise RowFailed(TOOL_FAULT, str(error)) from error

    async def _credentials(self, endpoint: Endpoint, param: str) -> Credentials:
        """Return what goes with the requests to an endpoint, which the field `param` of a request named.

        Raises JobError if the project's secret or a header cannot be read.
        """
        try:
            return (await self._current_signing()).credentials(self._vault, endpoint)
        except AppError as error:
            raise JobError(error.code or "endpoint_not_usable", error.message, param) from error

    async def _current_signing(self) -> Signing:
        if self._signing is None or time.monotonic() - self._signing.read_at > READ_AGAIN_SECONDS:
            self._signing = await to_thread.run_sync(self._read)
        return self._signing

    def _read(self) -> Signing:
        with self._sessions() as session:
            return Signing.of(session, self._vault, self._project_id)
