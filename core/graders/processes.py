"""Runs graders in processes beside the caller's own: that of the API, of an eval run, or of a trainer."""

from collections.abc import Mapping
from typing import Any

from core.errors import Unavailable
from core.graders.check import DEFAULT_SANDBOX, graders_of
from core.graders.grade import NOTHING, Grade
from core.graders.grader_process import grade_apart
from core.graders.python.sandbox import Sandbox
from core.graders.sample import Sample
from core.graders.schemas import PythonGrader
from core.process.apart import Apart, ProcessDied

AT_ONCE = 2
SECONDS = 20.0  # for one run: many times what the longest run takes that is allowed
START_SECONDS = 40.0  # beside the time of Python graders: to check their sources, and to start sandboxes


class GraderProcesses:
    """The grader processes beside one process."""

    def __init__(self, sandbox: Sandbox = DEFAULT_SANDBOX) -> None:
        self.sandbox = sandbox
        self.seconds = SECONDS
        self.apart = Apart(AT_ONCE)

    async def grade(
        self, grader: Any, item: Any, sample: Sample, known: Mapping[str, float] = NOTHING
    ) -> Grade:
        """Return the grade of one sample. `known` has the scores that models and endpoints gave.

        Raises InvalidRequest if the sample cannot be graded by the grader, and Unavailable if a run was
        stopped or its process died.
        """
        seconds = self._limit(grader)
        try:
            return await self.apart.run(seconds, grade_apart, grader, item, sample, dict(known), self.sandbox)
        except ProcessDied as error:
            raise Unavailable(
                "The process that ran the grader has died. Try again.", code="grader_process_died"
            ) from error
        except TimeoutError as error:
            raise Unavailable(
                f"The grader was stopped after {seconds:g} seconds. Use fewer graders, or shorten the "
                "sample or the item.",
                code="grader_timeout",
            ) from error

    def _limit(self, grader: Any) -> float:
        """Return the seconds that a run may take. By then, a sandbox has long ended its code."""
        runs_code = any(isinstance(each, PythonGrader) for each in graders_of(grader).values())
        return self.seconds + (self.sandbox.seconds + START_SECONDS if runs_code else 0.0)

    def close(self) -> None:
        """End all runs and let none begin. To be called in the thread of the event loop."""
        self.apart.close()
