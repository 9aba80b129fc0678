"""Runs a grader on one sample: endpoints are asked first, and a process beside the API does the rest."""

import time
from dataclasses import dataclass
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Depends

from api.dependencies import Outgoing, Secrets, Sessions, component
from api.eval_requests.check import check_endpoints
from core.endpoints.asking import Endpoints
from core.graders.check import check, graders_of, own_graders
from core.graders.endpoint import ENDPOINT_FAULT, EndpointFailed, scores
from core.graders.grade import Grade
from core.graders.processes import GraderProcesses
from core.graders.sample import Sample
from core.graders.schemas import EndpointGrader
from core.secrets.endpoint_headers import Signing


@dataclass(frozen=True)
class Graders:
    """What a request to run a grader needs of the application."""

    sessions: Sessions
    vault: Secrets
    egress: Outgoing
    endpoints: Annotated[Endpoints, Depends(component("endpoints"))]
    processes: Annotated[GraderProcesses, Depends(component("grader_processes"))]

    async def run(self, project_id: str, grader: Any, item: Any, sample: Sample) -> Grade:
        """Return the grade of a sample.

        Raises InvalidRequest if the grader cannot be run, and Unavailable.
        """
        began = time.perf_counter()
        asked = {name: each for name, each in graders_of(grader).items() if isinstance(each, EndpointGrader)}
        if not asked:
            return await self.processes.grade(grader, item, sample)
        check(grader, sandbox=self.processes.sandbox)
        check_endpoints(self.egress, grader, "grader")
        own_graders(grader, asked)  # before anybody else is asked, refuse what needs a model
        signing = await to_thread.run_sync(self._signing, project_id)
        named = {name: (each, signing.credentials(self.vault, each)) for name, each in asked.items()}
        try:
            known = await scores(self.endpoints, named, item, sample, project_id)
            grade = await self.processes.grade(grader, item, sample, known)
        except EndpointFailed as error:
            grade = Grade(fault=ENDPOINT_FAULT, details=str(error))
        grade.seconds = time.perf_counter() - began
        return grade

    def _signing(self, project_id: str) -> Signing:
        with self.sessions() as session:
            return Signing.of(session, self.vault, project_id)
