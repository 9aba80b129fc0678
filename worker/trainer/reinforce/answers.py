"""The answers of a job's model to prompts: sampled at once, and graded beside the training."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from core.objectives.sampling import SamplingOptions
from worker.engine.sampler.rollouts import Generation, Sampled
from worker.engine.step.trainee import Trainee
from worker.grading.sample_grader import Graded
from worker.rows.row import Row
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.job_grading import JobGrading
from worker.trainer.reinforce.response_format import grammar_of


@dataclass(frozen=True)
class GradedAnswer:
    """An answer with its grades: that of the job's grader, and that of its audit in a validation."""

    answer: Sampled
    grade: Graded
    audit: Graded | None = None

    @property
    def reward(self) -> float | None:
        """The reward; None if the grader has failed, which says nothing about the answer."""
        return self.grade.known_score


class Grading:
    """Sampled answers while they are graded."""

    def __init__(
        self, answers: Sequence[Sampled], by_grader: Sequence[Future[list[Graded]]], sampling: float
    ) -> None:
        """`by_grader` are the grades of all answers, by each grader. `sampling` are its seconds."""
        self._answers, self._by_grader = answers, by_grader
        self.sampling_seconds = sampling
        self._began = self._ended = time.monotonic()
        for grades in by_grader:
            grades.add_done_callback(self._note_end)

    def _note_end(self, _: object) -> None:
        self._ended = time.monotonic()

    @property
    def done(self) -> bool:
        return all(grades.done() for grades in self._by_grader)

    @property
    def grading_seconds(self) -> float:
        return self._ended - self._began

    def result(self) -> list[GradedAnswer]:
        """Return the answers in their order. Raises what has ended the grading as a whole."""
        by_grader = [grades.result() for grades in self._by_grader]
        return [GradedAnswer(*each) for each in zip(self._answers, *by_grader, strict=True)]

    def cancel(self) -> None:
        for grades in self._by_grader:
            grades.cancel()


class AnswerSampler:
    """Samples answers to prompts with a job's model as it is now, and has them graded."""

    def __init__(
        self,
        process_group: ProcessGroup,
        trainee: Trainee,
        objective: SamplingOptions,
        grading: JobGrading,
    ) -> None:
        self._process_group, self._trainee, self._grading = process_group, trainee, grading
        self._max_tokens, self._grammar = objective.max_completion_tokens, grammar_of(objective)

    def begin(
        self,
        prompts: Sequence[Row],
        items: RowItems,
        count: int,
        seed: int,
        abandon: Callable[[], bool],
        *,
        audited: bool = False,
    ) -> Grading:
        """Sample `count` answers to each prompt, side by side, and begin to grade them. Raises Abandoned.

        `audited` also has them graded by the job's audit, if it has one.
        """
        began = time.monotonic()
        asked = Generation(count, self._max_tokens, seed, self._grammar)
        answers = self._process_group.sample(self._trainee, prompts, asked, abandon)
        by_grader = self._grading.grade(answers, items, audited=audited)
        grading = Grading(answers, by_grader, time.monotonic() - began)
        for grades in by_grader:
            grades.add_done_callback(lambda _: self._grading.ended())
        return grading
