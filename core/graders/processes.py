"""Runs graders in processes beside the caller's own: that of the API, or of an eval run.

A run can neither hold up the caller's event loop nor take its memory, and it can be killed. AnyIO starts the
processes when they are first needed, and kills them when the event loop ends.
"""

from collections.abc import Mapping
from typing import Any

from anyio import BrokenWorkerProcess, CancelScope, CapacityLimiter, move_on_after, to_process

from core.errors import Unavailable
from core.graders.check import DEFAULT_SANDBOX, graders_of
from core.graders.grade import NOTHING, Grade
from core.graders.grader_process import grade_apart
from core.graders.python.sandbox import Sandbox
from core.graders.sample import Sample
from core.graders.schemas import PythonGrader

AT_ONCE = 2  # runs; further runs wait, in the order in which they came
SECONDS = 20.0  # for one run: many times what the longest run takes that is allowed
START_SECONDS = 40.0  # beside the time of Python graders: to check their sources, and to start sandboxes


class GraderProcesses:
    """The processes beside one process, and the runs that they are busy with."""

    def __init__(self, sandbox: Sandbox = DEFAULT_SANDBOX) -> None:
        self.sandbox = sandbox
        self.seconds = SECONDS
        self._permits = CapacityLimiter(AT_ONCE)
        self._running: set[CancelScope] = set()
        self._closed = False

    async def grade(
        self, grader: Any, item: Any, sample: Sample, known: Mapping[str, float] = NOTHING
    ) -> Grade:
        """Return the grade of one sample. `known` has the scores that models and endpoints gave.

        Raises InvalidRequest if the sample cannot be graded by the grader, and Unavailable if a run was
        stopped or its process died.
        """
        seconds = self._limit(grader)
        async with self._permits:
            with move_on_after(seconds) as scope:
                if self._closed:
                    scope.cancel()
                self._running.add(scope)
                try:
                    return await _run(grader, item, sample, dict(known), self.sandbox)
                except BrokenWorkerProcess as error:
                    raise Unavailable(
                        "The process that ran the grader has died. Try again.", code="grader_process_died"
                    ) from error
                finally:
                    self._running.discard(scope)
        if self._closed:
            raise Unavailable("The server is stopping. Try again in a few seconds.")
        raise Unavailable(
            f"The grader was stopped after {seconds:g} seconds. Use fewer graders, or shorten the "
            "sample or the item.",
            code="grader_timeout",
        )

    def _limit(self, grader: Any) -> float:
        """Return the seconds that a run may take. By then, a sandbox has long ended its code."""
        runs_code = any(isinstance(each, PythonGrader) for each in graders_of(grader).values())
        return self.seconds + (self.sandbox.seconds + START_SECONDS if runs_code else 0.0)

    def close(self) -> None:
        """End all runs and let none begin. To be called in the thread of the event loop."""
        self._closed = True
        for scope in self._running:
            scope.cancel()


async def _run(grader: Any, item: Any, sample: Sample, known: dict[str, float], sandbox: Sandbox) -> Grade:
    """Grade in a process, which is killed if the caller is cancelled."""
    # `GraderProcesses` limits the runs, so AnyIO need not do it too.
    return await to_process.run_sync(
        grade_apart, grader, item, sample, known, sandbox, cancellable=True, limiter=CapacityLimiter(1)
    )
