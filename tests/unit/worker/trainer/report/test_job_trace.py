"""How many spans the steps of jobs become, and how those of a cohort refer to each other."""

import itertools
from collections.abc import Iterator

import pytest

from core.tracing import spans
from tests.fixtures.outside.collector import Collector, sending_as
from worker.engine.step.trainee import StepResult
from worker.trainer.report.job_trace import LEAST_SECONDS, JobTrace, RoundTraces


@pytest.fixture
def collector() -> Iterator[Collector]:
    with sending_as("trainer") as collector:
        yield collector


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def claimed(sampled: bool = True) -> JobTrace:
    parent = None if sampled else f"00-{'a' * 32}-{'b' * 16}-00"
    claim = spans.begin("job.claim", parent=parent)
    claim.end()
    return JobTrace(claim.traceparent)


def step(number: int, loss: float = 1.0) -> list[StepResult]:
    return [StepResult(number, loss, 0.5, tokens=100, learning_rate=0.1, gradient_norm=1.0)]


def test_the_steps_of_a_day_are_few_spans_that_leave_out_no_step(collector: Collector) -> None:
    clock, trace = Clock(), claimed()
    rounds = RoundTraces(clock)
    for number in range(1, 100_001):
        clock.now += 1.0  # 28 hours
        rounds.note({trace: step(number)}, 0.1)
    rounds.leave(trace, last=True)
    found = sorted(collector.wait_for("job.steps", last=100_000) and collector.named("job.steps"), key=first)
    assert 20 < len(found) < 160
    assert first(found[0]) == 1
    for one, other in itertools.pairwise(found):
        assert first(other) == one.attributes["tunery.steps.last"] + 1
    assert sum(span.attributes["tunery.steps.tokens"] for span in found) == 10_000_000
    assert not collector.named("cohort.rounds"), "one job is no cohort"


def first(span: object) -> int:
    return int(span.attributes["tunery.steps.first"])  # type: ignore[attr-defined]


def test_jobs_that_share_rounds_refer_to_a_span_of_the_cohort(collector: Collector) -> None:
    clock, one, other = Clock(), claimed(), claimed()
    rounds = RoundTraces(clock)
    rounds.note({one: step(7)}, 0.1)  # alone
    for number in range(1, 4):
        rounds.note({one: step(7 + number), other: step(number)}, 0.1)
    clock.now += LEAST_SECONDS
    rounds.note({one: step(11), other: step(4)}, 0.1)  # the second span
    rounds.leave(one, last=False)
    rounds.note({other: step(5)}, 0.1)
    rounds.leave(other, last=True)
    cohorts = {span.id: span for span in collector.wait_for("cohort.rounds", count=2)}
    claims = {trace.claim.split("-")[1] for trace in (one, other) if trace.claim}
    for cohort in cohorts.values():
        assert {trace for trace, _ in cohort.links} == claims
        assert cohort.trace not in claims
    shared = [span for span in collector.wait_for("job.steps", count=5) if span.links]
    assert sorted((span.trace, span.links[0][1]) for span in shared) == sorted(
        (claim, cohort) for claim in claims for cohort in cohorts
    )
    (alone,) = [span for span in collector.named("job.steps") if not span.links]
    assert (alone.attributes["tunery.steps.last"], alone.attributes["tunery.cohort.jobs"]) == (7, 1)
    assert [span.attributes["tunery.cohort.rounds"] for span in cohorts.values()] == [3, 2]


def test_a_cohort_of_jobs_that_are_not_kept_is_not_kept(collector: Collector) -> None:
    one, other = claimed(sampled=False), claimed(sampled=False)
    rounds = RoundTraces(Clock())
    for number in range(1, 4):
        rounds.note({one: step(number), other: step(number)}, 0.1)
    rounds.end()
    with spans.begin("afterwards"):
        pass
    collector.wait_for("afterwards")
    assert [span.name for span in collector.seen] == ["afterwards"]


def test_a_checkpoint_ends_the_steps_before_it(collector: Collector) -> None:
    trace = claimed()
    rounds = RoundTraces(Clock())
    rounds.note({trace: step(1)}, 0.1)
    trace.end_steps()
    rounds.note({trace: step(2)}, 0.1)
    rounds.leave(trace, last=True)
    assert [first(span) for span in collector.wait_for("job.steps", count=2)] == [1, 2]


def test_an_event_belongs_to_the_steps_during_which_it_happens(collector: Collector) -> None:
    trace, rounds = claimed(), RoundTraces(Clock())
    rounds.note({trace: step(1)}, 0.1)
    trace.event("some_code")
    trace.end_steps()
    trace.event("too_late")
    assert collector.wait_for("job.steps")[0].events == ("some_code",)


def test_an_untraced_trainer_makes_nothing() -> None:
    trace = JobTrace()
    trace.mark("job.failed", "some_code")
    with trace.part("job.publish") as part, trace.current():
        assert part is spans.NOTHING
