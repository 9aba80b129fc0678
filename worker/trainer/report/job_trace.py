"""The trace of one claim of a job, and the spans of its steps, each of many steps."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from core.jobs.lifecycle import Lease
from core.tables import Job
from core.tracing import spans
from core.tracing.spans import NONE, NOTHING, Attributes, Span
from worker.engine.step.trainee import StepResult

# A span of steps lasts at least so long, and this share of the time for which the trainer has trained. So
# their number grows with the logarithm of that time: 80 in the first hour, 150 in a day, 240 in a month
LEAST_SECONDS = 10.0
SHARE = 20


@dataclass
class _Steps:
    """The steps of a job that a span is about."""

    span: Span
    first: int
    last: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    jobs: int = 1

    def add(self, results: Iterable[StepResult], seconds: float, jobs: int) -> None:
        for result in results:
            self.last, self.loss = max(self.last, result.step), result.loss
            self.tokens += result.tokens
        self.seconds += seconds
        self.jobs = max(self.jobs, jobs)

    def end(self) -> None:
        self.span.set(
            {
                "tunery.steps.first": self.first,
                "tunery.steps.last": self.last,
                "tunery.steps.tokens": self.tokens,
                "tunery.steps.seconds": round(self.seconds, 3),
                "tunery.steps.train_loss": self.loss,
                "tunery.cohort.jobs": self.jobs,
            }
        )
        self.span.end()


class JobTrace:
    """The spans of one claim of a job. They are parts of the span of the claim, which ends at once.

    So a trainer that is killed leaves a trace whose parts have their parent. Only the training thread begins
    and ends steps; any thread may begin a part.
    """

    def __init__(self, claim: str | None = None) -> None:
        self.claim = claim
        """The span of the claim, if this process is traced"""
        self._steps: _Steps | None = None

    @classmethod
    def begin(cls, lease: Lease, row: Job, owner: str, began: int) -> "JobTrace":
        """Begin the trace of a claim that has just been made, at the time `began` in nanoseconds."""
        if not spans.is_on():
            return cls()
        known = {
            "tunery.job.id": row.id,
            "tunery.job.attempt": lease.fence,
            "tunery.job.base_model": row.base_model,
            "tunery.job.alone": lease.alone,
            "tunery.project.id": row.project_id,
            "tunery.trainer": owner,
        }
        if lease.fence == 1:
            known["tunery.job.waited_seconds"] = max(0.0, began / 1e9 - row.created_at.timestamp())
        claim = spans.begin("job.claim", known, parent=row.traceparent, began=began)
        claim.end()
        return cls(claim.traceparent)

    @property
    def is_kept(self) -> bool:
        """Whether the trace is sent: the sampler may have decided otherwise."""
        return self.claim is not None and int(self.claim[-2:], 16) & 1 == 1

    def current(self) -> Span:
        """Return a context manager in which lines of the log carry the ids of the claim."""
        return spans.within(self.claim)

    def part(self, name: str, attributes: Attributes = NONE) -> Span:
        """Begin a part of what this trainer does for the job."""
        return NOTHING if self.claim is None else spans.begin(name, attributes, parent=self.claim)

    def mark(self, name: str, code: str | None = None) -> None:
        """Add a part that takes no time. A `code` marks it as a failure."""
        spans.mark(name, parent=self.claim, code=code)

    def event(self, name: str, attributes: Attributes = NONE) -> None:
        """Note what happens during the present steps. Any thread may call."""
        if (steps := self._steps) is not None:  # the training thread may end them meanwhile
            steps.span.event(name, attributes)

    def note_steps(
        self, results: Sequence[StepResult], seconds: float, jobs: int, cohort: str | None
    ) -> None:
        """Take in what a round of so many jobs has made of this one. `cohort` is the span of the round."""
        if self._steps is None:
            self._steps = _Steps(self.part("job.steps"), first=results[0].step)
            self._steps.span.link(cohort)
        self._steps.add(results, seconds, jobs)

    def end_steps(self) -> None:
        """End the span of the present steps. The next step begins another one."""
        if self._steps is not None:
            self._steps.end()
            self._steps = None


class RoundTraces:
    """Tells the traces of jobs, and a trace of the cohort, of the rounds that the jobs train together.

    A span of the cohort and the spans of its jobs end together, and refer to each other by links.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cohort = NOTHING
        self._traces: set[JobTrace] = set()
        self._shared = False  # whether the present spans began with several jobs
        self._rounds = 0
        self._since: float | None = None
        self._ends_at = 0.0

    def note(self, made: dict[JobTrace, list[StepResult]], seconds: float) -> None:
        """Take in a round: the steps that it has made of each job."""
        now = self._clock()
        if self._since is None:
            self._since = now - seconds
        if now >= self._ends_at or (len(made) > 1 and not self._shared):
            self.end()
            self._begin(made, now, now - self._since)
        for trace, results in made.items():
            if self._shared and trace not in self._traces:
                self._cohort.link(trace.claim)
            self._traces.add(trace)
            trace.note_steps(results, seconds, len(made), self._cohort.traceparent)
        self._rounds += 1

    def end(self) -> None:
        """End the spans of all jobs that are in the present one."""
        for trace in self._traces:
            trace.end_steps()
        self._cohort.set({"tunery.cohort.rounds": self._rounds, "tunery.cohort.jobs": len(self._traces)})
        self._cohort.end()
        self._cohort, self._shared, self._rounds = NOTHING, False, 0
        self._traces.clear()

    def leave(self, trace: JobTrace, *, last: bool) -> None:
        """Take in that a job has left, the last one or not."""
        trace.end_steps()
        if last:
            self.end()
            self._since, self._ends_at = None, 0.0

    def _begin(self, made: dict[JobTrace, list[StepResult]], now: float, trained: float) -> None:
        self._shared = len(made) > 1
        self._ends_at = now + max(LEAST_SECONDS, trained / SHARE)
        if self._shared and any(trace.is_kept for trace in made):
            self._cohort = spans.always("cohort.rounds")
