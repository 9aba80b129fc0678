"""Asks the endpoints of graders in the name of one project."""

import time
from collections.abc import Mapping
from typing import Any

from anyio import to_thread
from sqlalchemy.orm import Session, sessionmaker

from core.egress import Egress
from core.errors import AppError, JobError
from core.graders.endpoint import ENDPOINT_FAULT, EndpointFailed, EndpointGraders
from core.graders.schemas import EndpointGrader
from core.secrets.grader_headers import Signing
from core.secrets.vault import Vault
from core.settings import Settings
from worker.grading.row_failed import RowFailed

READ_AGAIN_SECONDS = 60.0  # after which the project's secret is read again: it may have been replaced


class ProjectEndpoints:
    """What asks endpoints. Only the event loop may call."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session], project_id: str) -> None:
        self._sessions, self._project_id = sessions, project_id
        self._vault = Vault.of(settings.secret_keys)
        egress = Egress(settings.egress_allow)
        self._graders = EndpointGraders(egress, settings.grading_at_once, settings.endpoint_grader_seconds)
        self._signing: Signing | None = None

    async def scores(self, graders: Mapping[str, EndpointGrader], item: Any, text: str) -> dict[str, float]:
        """Return the scores that endpoints give a sample, by the names of their graders.

        Raises RowFailed if one gives none, and JobError if none can be asked.
        """
        if not graders:
            return {}
        try:
            signing = await self._current_signing()
            asked = {name: (each, signing.credentials(self._vault, each)) for name, each in graders.items()}
        except AppError as error:
            raise JobError(error.code or "grader_not_usable", error.message, "grader") from error
        try:
            return await self._graders.scores(asked, item, text)
        except EndpointFailed as error:
            raise RowFailed(ENDPOINT_FAULT, str(error)) from error

    async def _current_signing(self) -> Signing:
        if self._signing is None or time.monotonic() - self._signing.read_at > READ_AGAIN_SECONDS:
            self._signing = await to_thread.run_sync(self._read)
        return self._signing

    def _read(self) -> Signing:
        with self._sessions() as session:
            return Signing.of(session, self._vault, self._project_id)
